// Shows the values of every line of a chart under the pointer.
for (const figure of document.querySelectorAll('figure')) {
  const svg = figure.querySelector('svg');
  const line = svg.querySelector('.pointer');
  const out = figure.querySelector('output');
  // Each path carries its points as "x|label|value;".
  const series = [...svg.querySelectorAll('path')]
    .map(path => ({
      name: path.dataset.name,
      points: path.dataset.points.split(';').filter(Boolean).map(point => point.split('|')),
    }))
    .filter(series => series.points.length);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const nearer = (best, point) =>
      Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best;
    const near = series.map(({name, points}) => ({name, point: points.reduce(nearer)}));
    if (!near.length) return;
    const [at, label] = near[0].point;
    line.setAttribute('x1', at);
    line.setAttribute('x2', at);
    line.style.visibility = 'visible';
    out.textContent = label + ': ' + near.map(({name, point}) => name + ' ' + point[2]).join(', ');
  });
  svg.addEventListener('pointerleave', () => {
    line.style.visibility = 'hidden';
    out.textContent = '';
  });
}
