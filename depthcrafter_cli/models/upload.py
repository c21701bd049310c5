"""Put a model folder into a repository of the Hugging Face hub, from which ``pull`` takes it."""

from pathlib import Path

from depthcrafter_cli.errors import UsageError, WeightsError, first_line
from depthcrafter_cli.models.adapters import Adapter, is_adapter
from depthcrafter_cli.models.layout import require_complete
from depthcrafter_cli.models.manifest import CARD_NAME, MANIFEST_NAME, read_manifest, verify
from depthcrafter_cli.models.weights import is_repository
from depthcrafter_cli.progress import Observer, Progress, ignore

_TERMS = ("LICENSE*", "NOTICE*")


def push(
    folder: Path,
    repository: str,
    observer: Observer = ignore,
    *,
    private: bool = False,
) -> str:
    """Upload a model or an adapter in one commit, and return the address of its page.

    The repository is made if there is none. The files are those of the manifest, the card and
    licence texts.

    Raises UsageError for a name that is none of a repository, and WeightsError for a folder that is
    not whole, or has no card, and where the hub cannot be reached or refuses it.
    """
    if not is_repository(repository):
        raise UsageError(
            f"got the repository {repository}, expected its owner and its name on the hub, such as "
            "lab/my-depth: correct it."
        )
    files = [folder / name for name in _files(folder, observer)]
    total, done = sum(path.stat().st_size for path in files), 0
    # It uses another HTTP library, and raises other errors, in each major release.
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        hub = HfApi()
        hub.create_repo(repository, exist_ok=True, private=private)
        added = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        for path, each in zip(files, added, strict=True):
            observer(Progress("upload", done, total, "bytes", each.path_in_repo))
            hub.preupload_lfs_files(repository, [each])
            done += path.stat().st_size
        hub.create_commit(repository, added, commit_message="Upload by depthcrafter")
    except Exception as error:
        raise WeightsError(
            f"the hub did not take {folder} as {repository} ({first_line(error)}): check the name "
            "and the network, log in with `hf auth login` or set HF_TOKEN, and push again, which "
            "sends what is lacking."
        ) from error
    observer(Progress("upload", total, total, "bytes"))
    return f"{hub.endpoint}/{repository}"


def _files(folder: Path, observer: Observer) -> list[str]:
    """Names of the files to upload. Raises WeightsError."""
    if is_adapter(folder):
        Adapter.read(folder)
    else:
        require_complete(folder, "expected a whole model: train or copy it again")
    if damaged := [check.path for check in verify(folder, observer) if check.problem]:
        raise WeightsError(
            f"{', '.join(damaged)} in {folder} are not as recorded, expected all intact: copy or "
            "export the model again."
        )
    if not (folder / CARD_NAME).is_file():
        raise WeightsError(
            f"got {folder} without a {CARD_NAME}, expected a card that tells what the model is and "
            "its licence: write one, as `depthcrafter train` does."
        )
    manifest = read_manifest(folder)
    assert manifest is not None
    terms = [path.name for pattern in _TERMS for path in sorted(folder.glob(pattern))]
    return [*manifest.files, MANIFEST_NAME, CARD_NAME, *terms]
