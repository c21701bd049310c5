// Numbers of all frames over time, as lines that follow the theme.
const numbers = data.numbers;

function svg(kind, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function acrossTime(index) {
  return data.total > 1 ? (1000 * index) / (data.total - 1) : 500;
}

// A line through the values that are known; a gap where one is null.
function line(values, up) {
  let text = '';
  let pen = 'M';
  values.forEach((value, i) => {
    if (value === null) {
      pen = 'M';
    } else {
      text += `${pen}${acrossTime(numbers.index[i]).toFixed(1)} ${up(value).toFixed(1)}`;
      pen = 'L';
    }
  });
  return text;
}

function chart(name, low, high, paths, says) {
  const figure = byName(name);
  if (!figure) return;
  const up = (value) => 100 - (100 * (value - low)) / (high - low || 1);
  const plot = figure.querySelector('.plot');
  const picture = svg('svg', {
    viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img',
    'aria-label': figure.dataset.says,
  });
  for (const [style, path] of paths(up)) picture.append(svg('path', { class: style, d: path }));
  plot.prepend(picture);
  figure.querySelector('.top').textContent = high.toPrecision(3);
  figure.querySelector('.bottom').textContent = low.toPrecision(3);
  dragged(plot, (event) => {
    const index = acrossOf(event, plot) * (data.total - 1);
    const apart = data.frames.map((frame) => Math.abs(frame.index - index));
    seek(apart.indexOf(Math.min(...apart)));
  });
  listeners.push(() => {
    const { index } = data.frames[state.at];
    figure.querySelector('.now').style.left = `${acrossTime(index) / 10}%`;
    let nearest = 0; // what is drawn of very long videos is not each frame
    numbers.index.forEach((other, i) => { if (other <= index) nearest = i; });
    figure.querySelector('output').textContent = says(nearest);
  });
}

function upright(indices) {
  return indices.map((index) => `M${acrossTime(index).toFixed(1)} 0V100`).join('');
}

const marks = [
  ['cut', upright(data.shots.slice(1))],
  ['join', upright(data.joins)],
];

{
  const low = Math.min(...numbers.low);
  const high = Math.max(...numbers.high);
  chart('range', low, high, (up) => {
    const back = numbers.low.map((value, i) => [value, i]).reverse()
      .map(([value, i]) => `L${acrossTime(numbers.index[i]).toFixed(1)} ${up(value).toFixed(1)}`);
    return [
      ['band', `${line(numbers.high, up)}${back.join('')}Z`], ['main', line(numbers.median, up)],
      marks[0],
    ];
  }, (i) => `${numbers.low[i].toPrecision(3)} to ${numbers.high[i].toPrecision(3)}`);
  const changes = numbers.change.filter((value) => value !== null);
  const most = changes.length ? Math.max(...changes) : 1;
  chart('change', 0, most || 1, (up) => [...marks, ['main', line(numbers.change, up)]], (i) => (
    numbers.change[i] === null ? 'first frame of a shot' : `${numbers.change[i].toPrecision(3)} %`
  ));
}
