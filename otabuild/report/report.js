"use strict";
// A node is [name, bytes, stored bytes, files, children]; names are set as text only.
const trees = JSON.parse(document.getElementById("trees").textContent);
const hues = [212, 158, 28, 268, 340, 190, 48, 120, 240, 8];

function human(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (size >= 1024 && at < units.length - 1) { size /= 1024; at += 1; }
  return (at ? size.toFixed(1) : size) + " " + units[at];
}

function make(name, parent, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (name === "button") element.type = "button";
  parent.append(element);
  return element;
}

// Rectangles of a treemap, rows of them filled so that each stays near to a square; in percent of the box.
function squarify(values, box) {
  const total = values.reduce((sum, value) => sum + value, 0);
  const areas = values.map((value) => value / total * box.w * box.h);
  const found = [];
  let { x, y, w, h } = box;
  const worst = (row, sum, side) => Math.max(...row.map((a) => Math.max(side * side * a / (sum * sum), sum * sum / (side * side * a))));
  let at = 0;
  while (at < areas.length) {
    const side = Math.min(w, h);
    let row = [areas[at]], sum = areas[at];
    while (at + row.length < areas.length) {
      const next = areas[at + row.length];
      if (worst([...row, next], sum + next, side) > worst(row, sum, side)) break;
      row.push(next);
      sum += next;
    }
    const thick = sum / side;
    let along = 0;
    for (const area of row) {
      const long = area / thick;
      found.push(w >= h ? { x, y: y + along, w: thick, h: long } : { x: x + along, y, w: long, h: thick });
      along += long;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    at += row.length;
  }
  return found;
}

function withRest(node, by) {
  const children = node[4].filter((child) => child[by] > 0).sort((a, b) => b[by] - a[by]);
  const rest = [1, 2, 3].map((i) => node[i] - node[4].reduce((sum, child) => sum + child[i], 0));
  if (rest[by - 1] > 0) children.push(["(smaller ones)", ...rest, []]);
  return children;
}

function treemap(place, root) {
  let path = [root], by = 1, size = { w: 1, h: 1 };
  const tools = make("div", place);
  tools.className = "tools";
  const map = make("div", place);
  map.className = "map";
  map.setAttribute("role", "group");
  map.setAttribute("aria-label", "Treemap: Enter opens a directory, Backspace goes up");

  function go(next, focus) {
    path = next;
    draw();
    if (focus) (map.querySelector("button") || tools.querySelector("button")).focus();
  }

  function drawTools() {
    tools.replaceChildren();
    path.forEach((node, depth) => {
      const button = make("button", tools, node[0]);
      if (depth === path.length - 1) button.setAttribute("aria-current", "location");
      button.onclick = () => go(path.slice(0, depth + 1), true);
    });
    const here = path[path.length - 1];
    const total = make("span", tools, human(here[1]) + " on the device, " + human(here[2]) + " stored, " + here[3].toLocaleString("en") + " files");
    total.className = "total";
    total.setAttribute("aria-live", "polite");
    [["on the device", 1], ["stored", 2]].forEach(([label, column]) => {
      const button = make("button", tools, label);
      button.setAttribute("aria-pressed", by === column);
      button.onclick = () => { by = column; draw(); };
    });
  }

  function drawCell(trail, cell, hue, depth) {
    const node = trail[trail.length - 1];
    const opens = node[4].length > 0;
    const button = make("button", map);
    // In percent of the map, so that it fits paper as well.
    for (const [key, side, full] of [["left", "x", "w"], ["width", "w", "w"], ["top", "y", "h"], ["height", "h", "h"]]) {
      button.style[key] = 100 * cell[side] / size[full] + "%";
    }
    button.style.background = "hsl(" + hue + " " + (opens ? 42 : 25) + "% " + (28 + 4 * depth) + "%)";
    button.title = trail.map((each) => each[0]).join("/").replace("//", "/") + ": " + human(node[1]) + " on the device, "
      + human(node[2]) + " stored, " + node[3].toLocaleString("en") + " files";
    button.setAttribute("aria-label", button.title + (opens ? ", opens" : ""));
    if (cell.w > 36 && cell.h > 16) make("span", button, node[0] + (opens ? "/ " : " ") + human(node[by]));
    button.classList.toggle("into", opens);
    if (opens) button.onclick = () => go(trail, true);
    if (opens && depth < 2 && cell.w > 60 && cell.h > 50) {
      drawNodes(trail, { x: cell.x + 3, y: cell.y + 20, w: cell.w - 6, h: cell.h - 23 }, depth + 1, hue);
    }
  }

  function drawNodes(trail, box, depth, hue) {
    const nodes = withRest(trail[trail.length - 1], by);
    const cells = squarify(nodes.map((node) => node[by]), box);
    nodes.forEach((node, i) => {
      if (cells[i].w > 4 && cells[i].h > 4) drawCell([...trail, node], cells[i], hue === undefined ? hues[i % hues.length] : hue, depth);
    });
  }

  function draw() {
    drawTools();
    map.replaceChildren();
    size = { w: map.clientWidth, h: map.clientHeight };
    drawNodes(path, { x: 0, y: 0, ...size }, 0);
  }

  place.addEventListener("keydown", (event) => {
    if ((event.key === "Backspace" || event.key === "Escape") && path.length > 1) {
      event.preventDefault();
      go(path.slice(0, -1), true);
    }
  });
  draw();
}

document.querySelectorAll(".treemap").forEach((place) => treemap(place, trees[Number(place.dataset.tree)]));
// Everything is on paper: folds open for print and close again.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
