// What one column of the picture was over time: time goes to the right, as in the papers' figures.
function drawProfiles() {
  if (!depths.length) return;
  const loaded = depths.length;
  const column = Math.round(state.column * (width - 1));
  if (data.hasVideo) {
    const canvas = byName('profile-video');
    const context = canvas.getContext('2d');
    for (let i = 0; i < loaded; i += 1) {
      context.drawImage(pictures[i], column, 0, 1, height, i, 0, 1, height);
    }
  }
  const levels = new Uint8Array(count * height);
  for (let i = 0; i < loaded; i += 1) {
    for (let row = 0; row < height; row += 1) {
      levels[row * count + i] = depths[i][row * width + column];
    }
  }
  byName('profile-depth').getContext('2d').putImageData(inColours(levels, count, height), 0, 0);
}

let profiled = ''; // what the profiles show

listeners.push(() => {
  const wanted = `${Math.round(state.column * (width - 1))} ${depths.length}`;
  if (wanted !== profiled) drawProfiles();
  profiled = wanted;
  for (const line of document.querySelectorAll('.profiles .now')) {
    line.style.left = `${(100 * (state.at + 0.5)) / count}%`;
  }
});

for (const name of ['profile-video', 'profile-depth']) {
  const canvas = byName(name);
  if (canvas) {
    canvas.width = count;
    canvas.height = height;
    dragged(canvas, (event) => seek(Math.floor(acrossOf(event, canvas) * count)));
  }
}

// The shots as a strip: the middle frame of each, half video and half depth.
const shotButtons = [];

function drawShots() {
  for (const button of shotButtons) {
    const i = button.middle;
    if (button.drawn || !depths[i]) continue;
    const canvas = button.firstChild;
    const context = canvas.getContext('2d');
    const half = canvas.width / 2;
    if (data.hasVideo) context.drawImage(pictures[i], 0, 0, canvas.width, canvas.height);
    const from = data.hasVideo ? half : 0;
    const part = canvas.width - from;
    context.drawImage(
      colouredDepth(i), (from * width) / canvas.width, 0, (part * width) / canvas.width, height,
      from, 0, part, canvas.height,
    );
    button.drawn = true;
  }
  const now = data.frames[state.at].index;
  for (const button of shotButtons) {
    const inside = now >= button.start && now < button.stop;
    button.setAttribute('aria-current', inside ? 'true' : 'false');
  }
}

if (byName('shots')) {
  data.shots.forEach((start, number) => {
    const stop = data.shots[number + 1] ?? data.total;
    const inside = data.frames.map((frame, i) => [frame.index, i])
      .filter(([index]) => index >= start && index < stop);
    if (!inside.length) return;
    const button = document.createElement('button');
    const canvas = document.createElement('canvas');
    canvas.width = 296;
    canvas.height = Math.round((296 * height) / width);
    canvas.setAttribute('aria-hidden', 'true');
    const says = document.createElement('span');
    says.textContent = `Shot ${number}: ${stop - start} frames`;
    button.append(canvas, says);
    button.start = start;
    button.stop = stop;
    button.middle = inside[Math.floor(inside.length / 2)][1];
    button.addEventListener('click', () => seek(inside[0][1]));
    byName('shots').append(button);
    shotButtons.push(button);
  });
  listeners.push(drawShots);
}
