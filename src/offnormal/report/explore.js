"use strict";
// The slider counts how many images are beyond the cut; the cut lies half-way between two scores. Timelines show where.
const found = JSON.parse(document.getElementById("explore-data").textContent);
const section = document.getElementById("explore");
const slider = document.getElementById("explore-slider");
const said = document.getElementById("explore-said");
const filter = document.getElementById("explore-kind");
const films = document.getElementById("films");
const axis = films ? JSON.parse(films.dataset.axis) : null;
const rows = [...document.querySelectorAll("tr[data-score]")];

function cutBehind(count) {
  if (count === found.flagged) return found.cut;
  if (count === 0) return found.scores[0];
  const last = found.scores[count - 1];
  return count === found.scores.length ? -Infinity : (last + found.scores[count]) / 2;
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function heightOf(score) {
  const placed = (value) => axis.scale === "compressed" ? Math.asinh((value - axis.center) / axis.width) : value;
  const place = (placed(score) - placed(axis.low)) / (placed(axis.high) - placed(axis.low));
  return axis.top + axis.tall * (1 - Math.min(Math.max(place, 0), 1));
}

function moveLines(cut) {
  for (const line of films.querySelectorAll("path.threshold")) {
    line.setAttribute("d", line.getAttribute("d").replace(/ [\d.]+H/, ` ${heightOf(cut).toFixed(1)}H`));
  }
  films.classList.toggle("moved", Number(slider.value) !== found.flagged); // the shading is that of the model's cut
}

function update() {
  const cut = cutBehind(Number(slider.value));
  const beyond = found.scores.map((score) => score > cut);
  const count = beyond.filter(Boolean).length;
  const all = found.scores.length;
  const text = fill(section.dataset.said, {
    count: count.toLocaleString("en"),
    all: all.toLocaleString("en"),
    share: (100 * count / all).toFixed(1),
    cut: Number.isFinite(cut) ? Number(cut.toPrecision(4)).toString() : "−∞",
  });
  said.textContent = Number(slider.value) === found.flagged ? `${text} ${section.dataset.own}` : text;
  slider.setAttribute("aria-valuetext", text);
  if (films) moveLines(cut);
  found.kindNames.forEach((name, kind) => {
    const cell = document.getElementById(`explore-kind-${kind}`);
    cell.textContent = beyond.filter((is, i) => is && found.kinds[i] === kind).length.toLocaleString("en");
  });
  for (const row of rows) {
    const badge = row.querySelector(".badge");
    if (!badge) continue;
    const is = Number(row.dataset.score) > cut;
    badge.classList.toggle("flagged", is);
    badge.textContent = is ? section.dataset.flagged : section.dataset.normal;
  }
}

function show() {
  for (const row of rows) row.hidden = filter.value !== "" && row.dataset.kind !== filter.value;
  document.getElementById("explore-empty").hidden = rows.some((row) => !row.hidden);
}

for (const part of section.querySelectorAll("[data-live]")) part.hidden = false;
slider.addEventListener("input", update);
document.getElementById("explore-reset").addEventListener("click", () => {
  slider.value = found.flagged;
  update();
});
if (filter) filter.addEventListener("change", show);
update();
