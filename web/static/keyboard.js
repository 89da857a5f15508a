// ---- keyboard
const SHORTCUTS = [
  ["j or ↓", "next decision"], ["k or ↑", "previous decision"], ["Enter", "open or close it"],
  ["Esc", "close it, or leave a field"], ["/", "filter"], ["?", "show these keys"],
];
$("keys").append(...SHORTCUTS.flatMap(([keys, does]) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, does)]));

const summaries = () => [...document.querySelectorAll(".decisions summary")];
const focusedRow = () => document.activeElement.closest(".decisions li")?.querySelector("summary");
function move(step) {
  const all = summaries(), at = all.indexOf(focusedRow());
  all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + step))]?.focus();
}
function escape(field) {
  if (field) { document.activeElement.blur(); return; }
  const summary = focusedRow() || document.querySelector(".decisions details[open] > summary");
  if (summary?.parentElement.open) { summary.parentElement.open = false; summary.focus(); }
  else if ($("shortcuts").open) $("shortcuts").open = false;
  else if (isFiltered()) clearFilters();
}
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.matches("input, textarea, select");
  const steps = { j: 1, k: -1, ...(focusedRow() ? { ArrowDown: 1, ArrowUp: -1 } : {}) };
  if (event.key === "Escape") escape(field);
  else if (field || $("decisions").closest("section").hidden) return;
  else if (event.key in steps) move(steps[event.key]);
  else if (event.key === "/") $("filter-side").focus();
  else if (event.key === "?") { $("shortcuts").open = !$("shortcuts").open; $("shortcuts").scrollIntoView({ block: "nearest" }); }
  else return;
  event.preventDefault();
});
