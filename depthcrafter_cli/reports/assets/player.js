// The video and its depth, frame by frame: what is decoded, which frame is shown, and the wipe.
const data = JSON.parse(byName('data').textContent);
const count = data.frames.length;
const { width, height } = data;
const pictures = []; // of the video; none where it was gone
const depths = []; // Uint8Array [height * width] each, 255 is nearest
const state = { at: 0, wipe: data.hasVideo ? 0.5 : 0, column: 0.35, playing: false };
const listeners = []; // called once before the next picture, whatever changed
const table = decodedBytes(data.colours); // 256 colours
let due = false;

function decodedBytes(code) {
  return Uint8Array.from(atob(code), (letter) => letter.charCodeAt(0));
}

function set(values) {
  Object.assign(state, values);
  state.at = Math.min(count - 1, Math.max(0, state.at));
  state.wipe = Math.min(1, Math.max(0, state.wipe));
  state.column = Math.min(1, Math.max(0, state.column));
  changed();
}

function changed() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const listener of listeners) listener();
  });
}

async function decodedPicture(code) {
  const image = new Image();
  image.src = `data:image/webp;base64,${code}`;
  await image.decode();
  return 'createImageBitmap' in window ? createImageBitmap(image) : image;
}

async function load() {
  const scratch = document.createElement('canvas');
  scratch.width = width;
  scratch.height = height;
  const context = scratch.getContext('2d', { willReadFrequently: true });
  for (let i = 0; i < count; i += 1) {
    const frame = data.frames[i];
    if (data.hasVideo) pictures[i] = await decodedPicture(frame.picture);
    context.drawImage(await decodedPicture(frame.depth), 0, 0);
    const { data: pixels } = context.getImageData(0, 0, width, height);
    const depth = new Uint8Array(width * height);
    for (let at = 0; at < depth.length; at += 1) depth[at] = pixels[4 * at + 1];
    depths[i] = depth;
    frame.picture = frame.depth = null;
    if (i % 8 === 0 || i === count - 1) changed();
  }
  root.dataset.ready = 'yes';
}

function loadedAt(i) {
  return depths[i] ? i : Math.max(0, depths.length - 1);
}

function inColours(levels, columns, rows) {
  const image = new ImageData(columns, rows);
  const pixels = image.data;
  for (let at = 0; at < levels.length; at += 1) {
    const entry = 3 * levels[at];
    pixels[4 * at] = table[entry];
    pixels[4 * at + 1] = table[entry + 1];
    pixels[4 * at + 2] = table[entry + 2];
    pixels[4 * at + 3] = 255;
  }
  return image;
}

const paint = document.createElement('canvas'); // the depth of the last frame asked for, in colours
paint.width = width;
paint.height = height;
let painted = -1;

function colouredDepth(i) {
  if (painted !== i) {
    paint.getContext('2d').putImageData(inColours(depths[i], width, height), 0, 0);
    painted = i;
  }
  return paint;
}

function drawStage() {
  if (!depths.length) return;
  const i = loadedAt(state.at);
  const split = Math.round(state.wipe * width);
  const context = byName('stage').getContext('2d');
  if (data.hasVideo) context.drawImage(pictures[i], 0, 0, width, height);
  if (split < width) {
    const rest = width - split;
    context.drawImage(colouredDepth(i), split, 0, rest, height, split, 0, rest, height);
  }
  byName('divider').style.left = `${100 * state.wipe}%`;
  byName('column').style.left = `${100 * state.column}%`;
}

function describe(i) {
  const frame = data.frames[i];
  return `Frame ${frame.index} of 0 to ${data.total - 1}, ${frame.time.toFixed(2)} s`;
}

function showControls() {
  byName('frame').value = state.at;
  byName('frame').setAttribute('aria-valuetext', describe(state.at));
  byName('frame-says').textContent = describe(state.at);
  byName('wipe').value = Math.round(100 * state.wipe);
  byName('wipe-says').textContent = `${Math.round(100 * state.wipe)} % video`;
  byName('across').value = Math.round(100 * state.column);
  byName('across-says').textContent = `column ${Math.round(state.column * (data.fullWidth - 1))}`;
  byName('play').textContent = state.playing ? 'Pause' : 'Play';
}

// Playing follows the video's own times, in a loop.
function play(on) {
  state.playing = on;
  changed();
  if (!on) return;
  let began = performance.now();
  let from = state.at === count - 1 ? 0 : data.frames[state.at].time;
  if (from === 0) set({ at: 0 });
  const step = (now) => {
    if (!state.playing) return;
    const time = from + (now - began) / 1000;
    let next = state.at;
    while (next < count - 1 && data.frames[next + 1].time <= time) next += 1;
    if (time > data.duration) {
      [began, from, next] = [now, 0, 0];
    }
    if (next !== state.at) set({ at: next });
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function seek(at) {
  play(false);
  set({ at });
}

function acrossOf(event, element) {
  const box = element.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}

// Calls `move` while a pointer is down, and `hover` while a mouse only passes.
function dragged(element, move, hover = () => {}) {
  let down = false;
  element.addEventListener('pointerdown', (event) => {
    down = true;
    try {
      element.setPointerCapture(event.pointerId);
    } catch (error) {
      // A pointer that is gone already cannot be held.
    }
    move(event);
  });
  element.addEventListener('pointermove', (event) => (down ? move(event) : hover(event)));
  for (const end of ['pointerup', 'pointercancel']) {
    element.addEventListener(end, () => { down = false; });
  }
}

function listen() {
  const stage = byName('stage-frame');
  dragged(
    stage,
    (event) => {
      const across = acrossOf(event, stage);
      set(data.hasVideo ? { wipe: across, column: across } : { column: across });
    },
    (event) => set({ column: acrossOf(event, stage) }),
  );
  byName('frame').addEventListener('input', (event) => seek(Number(event.target.value)));
  byName('wipe').addEventListener('input', (event) => set({ wipe: event.target.value / 100 }));
  byName('across').addEventListener('input', (event) => set({ column: event.target.value / 100 }));
  byName('play').addEventListener('click', () => play(!state.playing));
  const keys = {
    ' ': () => play(!state.playing),
    ArrowLeft: (event) => seek(state.at - (event.shiftKey ? 10 : 1)),
    ArrowRight: (event) => seek(state.at + (event.shiftKey ? 10 : 1)),
    Home: () => seek(0),
    End: () => seek(count - 1),
    '[': () => set({ wipe: state.wipe - 0.05 }),
    ']': () => set({ wipe: state.wipe + 0.05 }),
    ',': () => set({ column: state.column - 0.02 }),
    '.': () => set({ column: state.column + 0.02 }),
  };
  document.addEventListener('keydown', (event) => {
    const busy = event.target.closest('input, button, summary, a, canvas[tabindex]');
    if (busy || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key](event);
  });
}

byName('stage-frame').style.maxWidth = `min(100%, ${(72 * width) / height}vh)`;
listeners.push(drawStage, showControls);
listen();
