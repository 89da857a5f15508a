// ---- keeping it up to date
const troubles = {};
function say(topic, text) {
  troubles[topic] = text || "";
  const all = Object.values(troubles).filter(Boolean);
  $("trouble").hidden = all.length === 0;
  if ($("trouble").textContent !== all.join(" ")) $("trouble").textContent = all.join(" ");
}
const days = () => document.querySelector("input[name=days]:checked").value;
async function refreshSides() {
  sides = await ask("/health");
  showSide("local", sides.local);
  showSide("cloud", sides.cloud);
  say("notice", sides.headline.level === "ok" ? sides.notice : [sides.headline.text, sides.notice].filter(Boolean).join(" "));
  $("trouble").classList.toggle("error", sides.headline.level === "error");
  $("tagline").textContent = sides.headline.level === "ok" ? sides.headline.text : "Easy prompts stay on this machine, hard ones go to the cloud.";
}
let counted = 0, chosen = false;
async function refreshStats() {
  let stats = await ask(`/stats?days=${days()}`);
  if (!chosen && !stats.over_time.some(p => p.local + p.cloud + p.none && p.time + stats.slot_s < Date.now() / 1000 - 86400)) {
    document.querySelector("input[name=days][value='1']").checked = true;  // there is only one day to show
    stats = await ask(`/stats?days=${days()}`);
  }
  chosen = true;
  counted = Date.now();
  showFigures(stats);
  showTraffic(stats);
  showCallers(stats.callers);
  showLastDay(stats.last_day);
  offerFilters(stats);
}
const refreshConfidence = async () => showConfidence(await ask(`/confidence?days=${days()}`));
const refreshDecisions = async () => showDecisions(await ask(`/decisions?limit=${limit}${filterQuery()}`));
async function refresh() {
  try {
    await refreshSides();
    info = await ask("/info");
    $("locked").hidden = true;
    $("links").hidden = info.needs_key;  // a link cannot send a key
    document.querySelectorAll(".open").forEach(section => { section.hidden = false; });
    showClient();
    if (!$("prompt").value) showVerdict(null);
    await refreshDecisions();
    await refreshStats();
    await refreshConfidence();
    say("connection", "");
    await followLink();
  } catch (error) {
    say("connection", $("locked").hidden ? `The router does not answer (${error.message}). The page tries again.` : "");
    showClient();
  }
}
$("older").addEventListener("click", () => { limit = Math.min(500, limit * 5); renew(); });
$("span").addEventListener("change", () => { refreshStats().then(refreshConfidence).catch(() => {}); });
new ResizeObserver(() => { if (traffic) showTraffic(traffic); }).observe($("traffic"));
let ticks = 0, stale = false;
async function renew() {
  if (document.hidden) return;
  ticks += 1;
  if (!info) { if ($("locked").hidden) await refresh(); return; }
  try {
    const news = await refreshDecisions();
    if (ticks % 2 === 0) await refreshSides();
    stale = stale || news || ticks % 10 === 0;
    if (stale && Date.now() - counted > 5000) { stale = false; await refreshStats(); }
    if (ticks % 30 === 0) await refreshConfidence();
    say("connection", "");
  } catch (error) {
    if ($("locked").hidden) { say("connection", `The router does not answer (${error.message}). The page tries again.`); info = null; }
  }
}
async function forever() {
  await renew();
  setTimeout(forever, 2000);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) renew(); });
refresh().then(() => setTimeout(forever, 2000));
