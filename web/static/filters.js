// ---- filters of the decisions, and links to one decision
const FILTERS = ["side", "reason", "client"];
const filterOf = name => $(`filter-${name}`).value;
const isFiltered = () => FILTERS.some(filterOf);
const filterQuery = () => FILTERS.filter(filterOf).map(name => `&${name}=${encodeURIComponent(filterOf(name))}`).join("");
const clientName = agent => agent.split(" ")[0].split("/")[0].replace(/^Mozilla$/, "browser");
const sideOf = d => d.outcome === "failed" ? "none" : d.target || "none";
const isWanted = d => [["side", sideOf(d)], ["reason", d.reason], ["client", clientName(d.user_agent)]]
  .every(([name, value]) => !filterOf(name) || filterOf(name) === value);

function offer(name, values) {
  const select = $(`filter-${name}`), chosen = select.value;
  const all = [...new Set([...values, chosen])].filter(Boolean).sort();
  if ([...select.options].slice(1).map(option => option.value).join() === all.join()) return;  // it may be open
  select.replaceChildren(select.options[0], ...all.map(value => el("option", { value }, value.replaceAll("_", " "))));
  select.value = chosen;
}
function offerFilters(stats) {
  offer("reason", stats.reasons.map(one => one.reason));
  offer("client", stats.last_day.clients.map(one => one.client).filter(name => name !== "others"));
}
function clearFilters() {
  FILTERS.forEach(name => { $(`filter-${name}`).value = ""; });
  refilter();
}
function refilter() {
  $("filter-clear").hidden = !isFiltered();
  forgetDecisions();
  refreshDecisions().catch(() => {});
}
$("filters").addEventListener("change", refilter);
$("filter-clear").addEventListener("click", clearFilters);

const linkTo = id => `#request=${encodeURIComponent(id)}`;
const linkedId = () => new URLSearchParams(location.hash.slice(1)).get("request");
// The address names the opened row, so that it can be shared or kept.
function nameInAddress(id, open) {
  if (open) history.replaceState(null, "", linkTo(id));
  else if (linkedId() === id) history.replaceState(null, "", location.pathname);
}
function copyButton(id) {
  const button = el("button", { type: "button" }, "Copy link");
  button.addEventListener("click", async () => {
    const address = location.origin + location.pathname + linkTo(id);
    try {
      await navigator.clipboard.writeText(address);
      button.textContent = "Copied";
    } catch {
      button.replaceWith(el("code", { class: "small" }, address));
    }
  });
  return button;
}
async function followLink() {
  const id = linkedId();
  say("link", "");
  $("linked").replaceChildren();
  if (!id || !info) return;
  let item = shown.get(id)?.item;
  if (!item) {
    try {
      item = row(await ask(`/decisions/${encodeURIComponent(id)}`));
      $("linked").replaceChildren(item);
    } catch (error) { say("link", error.message); return; }
  }
  item.querySelector("details").open = true;
  item.querySelector("summary").focus({ preventScroll: true });
  item.scrollIntoView({ block: "start" });
}
addEventListener("hashchange", followLink);
