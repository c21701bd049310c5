// The frame in space: points that turn, or a surface seen from a little to the side.
const NEAR = 1; // distance of what is nearest; the farthest is `relief` times as far
const SIDE = Math.tan((27 * Math.PI) / 180); // half of what the picture's width sees, at distance 1
const REACH = 4; // pixels, of the smoothing
const LEVELS_APART = 12; // of 255: beyond, it is another surface
const JUMP = 12; // times the size of a pixel: beyond, depth jumps
const MOST_COLUMNS = 240; // points are fewer than 65536, the most that WebGL 1 counts

const POINT_OF = `
attribute vec2 place; attribute vec2 far; // distance, and how much that of a neighbour differs
uniform mat4 view; uniform vec2 spread; uniform float size;
varying vec2 at;
void main() {
  at = place;
  vec3 there = vec3((2.0 * place.x - 1.0) * spread.x, (1.0 - 2.0 * place.y) * spread.y, -1.0) * far.x;
  gl_Position = view * vec4(there, 1.0);
  gl_PointSize = max(1.5, size * (far.x + far.y) / gl_Position.w);
}`;
const COLOUR_OF = `
precision mediump float;
uniform sampler2D picture; varying vec2 at;
void main() { gl_FragColor = texture2D(picture, at); }`;

const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
const camera = { turn: -0.3, tilt: 0.06, parallax: false, moving: smooth, relief: 4, held: false };

function compiled(gl, kind, text) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, text);
  gl.compileShader(shader);
  return shader;
}

// Depth of 8 bits shows steps in space: each value becomes the mean of those near it on its row,
// then on its column, twice. Jumps of depth stay.
function withoutSteps(levels, columns, rows) {
  let from = Float32Array.from(levels);
  for (const [step, length] of [[1, columns], [columns, rows], [1, columns], [columns, rows]]) {
    const to = new Float32Array(from.length);
    for (let at = 0; at < from.length; at += 1) {
      const along = step === 1 ? at % columns : Math.floor(at / columns);
      const first = Math.max(-REACH, -along);
      const last = Math.min(REACH, length - 1 - along);
      let sum = 0;
      let found = 0;
      for (let k = first; k <= last; k += 1) {
        const value = from[at + k * step];
        const weight = Math.max(0, 1 - Math.abs(value - from[at]) / LEVELS_APART);
        sum += weight * value;
        found += weight;
      }
      to[at] = sum / found;
    }
    from = to;
  }
  return from;
}

function product(a, b) {
  const result = new Float32Array(16);
  for (let column = 0; column < 4; column += 1) {
    for (let row = 0; row < 4; row += 1) {
      for (let k = 0; k < 4; k += 1) result[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    }
  }
  return result;
}

function moved(x, y, z) {
  return [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, x, y, z, 1];
}

function viewOf(aspect, pivot) {
  const [turn, tilt] = [camera.turn, camera.tilt];
  const [c, s, d, e] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  const turned = [c, 0, -s, 0, 0, 1, 0, 0, s, 0, c, 0, 0, 0, 0, 1];
  const tilted = [1, 0, 0, 0, 0, d, e, 0, 0, -e, d, 0, 0, 0, 0, 1];
  const [near, far] = [0.05, 60];
  // The whole picture is in the view.
  const across = SIDE * Math.max(1, (aspect * height) / width);
  const seen = [
    1 / across, 0, 0, 0, 0, aspect / across, 0, 0,
    0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0,
  ];
  const around = product(product(moved(0, 0, -pivot), product(tilted, turned)), moved(0, 0, pivot));
  return product(seen, around);
}

function startSpace() {
  const canvas = byName('space');
  const gl = canvas.getContext('webgl', { antialias: true, alpha: false });
  if (!gl) {
    canvas.hidden = true;
    byName('space-missing').hidden = false;
    return;
  }
  const columns = Math.min(MOST_COLUMNS, width);
  const rows = Math.min(Math.floor(65535 / columns), Math.round((columns * height) / width));
  const program = gl.createProgram();
  gl.attachShader(program, compiled(gl, gl.VERTEX_SHADER, POINT_OF));
  gl.attachShader(program, compiled(gl, gl.FRAGMENT_SHADER, COLOUR_OF));
  gl.linkProgram(program);
  gl.useProgram(program);
  const place = new Float32Array(2 * columns * rows);
  const corners = new Uint16Array(6 * (columns - 1) * (rows - 1));
  for (let row = 0, i = 0, k = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1, i += 1) {
      place.set([(column + 0.5) / columns, (row + 0.5) / rows], 2 * i);
      if (row < rows - 1 && column < columns - 1) {
        corners.set([i, i + columns, i + 1, i + 1, i + columns, i + columns + 1], k);
        k += 6;
      }
    }
  }
  const attribute = (name, size) => {
    const where = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, size, gl.FLOAT, false, 0, 0);
  };
  attribute('place', 2);
  gl.bufferData(gl.ARRAY_BUFFER, place, gl.STATIC_DRAW);
  attribute('far', 2); // this buffer stays bound: each frame fills it
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
    gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  }
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.enable(gl.DEPTH_TEST);
  gl.clearColor(0.045, 0.047, 0.055, 1);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const [view, spread, size] = ['view', 'spread', 'size'].map(uniform);
  let shown = '';
  let pivot = 2;

  function fill(i) {
    const levels = new Uint8Array(columns * rows);
    for (let row = 0, k = 0; row < rows; row += 1) {
      const above = width * Math.floor(((row + 0.5) * height) / rows);
      for (let column = 0; column < columns; column += 1, k += 1) {
        levels[k] = depths[i][above + Math.floor(((column + 0.5) * width) / columns)];
      }
    }
    const distances = withoutSteps(levels, columns, rows);
    const least = 1 / camera.relief;
    for (let k = 0; k < distances.length; k += 1) {
      distances[k] = NEAR / (least + (1 - least) * (distances[k] / 255));
    }
    pivot = Float32Array.from(distances).sort()[distances.length >> 1];
    const far = new Float32Array(2 * distances.length);
    for (let k = 0; k < distances.length; k += 1) {
      const own = distances[k];
      const right = (k + 1) % columns ? Math.abs(distances[k + 1] - own) : 0;
      const below = k + columns < distances.length ? Math.abs(distances[k + columns] - own) : 0;
      const apart = Math.max(right, below) * columns / (2 * SIDE);
      far.set([own, apart < JUMP * own ? Math.min(apart, 3 * own) : 0], 2 * k); // points of a slope touch
    }
    gl.bufferData(gl.ARRAY_BUFFER, far, gl.DYNAMIC_DRAW);
    const image = data.hasVideo ? pictures[i] : colouredDepth(i);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
  }

  function draw() {
    if (!depths.length) return;
    const i = loadedAt(state.at);
    const wanted = `${i} ${camera.relief}`;
    if (wanted !== shown) fill(i);
    shown = wanted;
    const scale = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(view, false, viewOf(canvas.width / canvas.height, pivot));
    gl.uniform2f(spread, SIDE, (SIDE * height) / width);
    gl.uniform1f(size, (1.25 * canvas.width) / columns);
    if (camera.parallax) gl.drawElements(gl.TRIANGLES, corners.length, gl.UNSIGNED_SHORT, 0);
    else gl.drawArrays(gl.POINTS, 0, columns * rows);
  }

  // It turns by itself while it is seen, unless someone holds it or wants no motion.
  let visible = false;
  let running = false;
  const tick = (now) => {
    running = visible && camera.moving;
    if (!running) return;
    if (!camera.held) {
      const reach = camera.parallax ? 0.06 : 0.42;
      camera.turn = reach * Math.sin(now / 2600);
      camera.tilt = reach * 0.3 * Math.sin(now / 3700);
    }
    draw();
    requestAnimationFrame(tick);
  };
  const go = () => {
    if (!running) requestAnimationFrame(tick);
    changed();
  };
  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    go();
  }).observe(canvas);
  listeners.push(() => { if (visible) draw(); });

  const point = { x: 0, y: 0 };
  const follow = (event) => {
    if (!camera.parallax) return;
    camera.held = true;
    camera.turn = 0.16 * (acrossOf(event, canvas) - 0.5);
    const box = canvas.getBoundingClientRect();
    camera.tilt = 0.1 * ((event.clientY - box.top) / box.height - 0.5);
    changed();
  };
  canvas.addEventListener('pointerdown', (event) => Object.assign(point, { x: event.clientX, y: event.clientY }));
  dragged(canvas, (event) => {
    camera.held = true;
    camera.turn += (event.clientX - point.x) / 240;
    camera.tilt = Math.max(-1.2, Math.min(1.2, camera.tilt + (event.clientY - point.y) / 240));
    Object.assign(point, { x: event.clientX, y: event.clientY });
    changed();
  }, follow);
  canvas.addEventListener('pointerleave', () => { if (camera.parallax) camera.held = false; });
  canvas.addEventListener('keydown', (event) => {
    const steps = { ArrowLeft: [-0.08, 0], ArrowRight: [0.08, 0], ArrowUp: [0, -0.08], ArrowDown: [0, 0.08] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    camera.held = true;
    camera.turn += step[0];
    camera.tilt = Math.max(-1.2, Math.min(1.2, camera.tilt + step[1]));
    changed();
  });
  const press = (name, on) => byName(name).setAttribute('aria-pressed', on ? 'true' : 'false');
  const choose = (parallax) => {
    Object.assign(camera, { parallax, held: false, turn: parallax ? -0.05 : -0.3, tilt: 0.03 });
    press('points', !parallax);
    press('parallax', parallax);
    go();
  };
  const move = (moving) => {
    Object.assign(camera, { moving, held: false });
    press('moving', moving);
    go();
  };
  byName('points').addEventListener('click', () => choose(false));
  byName('parallax').addEventListener('click', () => choose(true));
  byName('moving').addEventListener('click', () => move(!camera.moving));
  byName('relief').addEventListener('input', (event) => {
    camera.relief = Number(event.target.value);
    changed();
  });
  press('moving', camera.moving);
  window.addEventListener('resize', changed);
}

startSpace();
load();
