// Tables that are sorted by a click on the head of a column.
function valueOf(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.value ?? cell.textContent.trim();
  return value !== '' && Number.isFinite(Number(value)) ? Number(value) : value.toLowerCase();
}

function compared(a, b) {
  if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1; // what has no number comes last
  if (typeof a === 'number') return a - b;
  return a.localeCompare(b, undefined, { numeric: true });
}

for (const sorted of document.querySelectorAll('table.sortable')) {
  const heads = [...sorted.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector('button');
    if (!button) return;
    button.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') === 'ascending';
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const rows = [...sorted.tBodies[0].rows];
      rows.sort((a, b) => compared(valueOf(a, column), valueOf(b, column)) * (down ? -1 : 1));
      sorted.tBodies[0].append(...rows);
    });
  });
}
