// ---- keeping it up to date
const troubles = {};
function say(topic, text) {
  troubles[topic] = text || "";
  const all = Object.values(troubles).filter(Boolean);
  $("trouble").hidden = all.length === 0;
  if ($("trouble").textContent !== all.join(" ")) $("trouble").textContent = all.join(" ");
}
const days = () => document.querySelector("input[name=days]:checked").value;
const refreshSides = async () => showSides(await ask("/health"));
function showSides(health) {
  sides = health;
  showSide("local", sides.local);
  showSide("cloud", sides.cloud);
  say("notice", sides.headline.level === "ok" ? sides.notice : [sides.headline.text, sides.notice].filter(Boolean).join(" "));
  $("trouble").classList.toggle("error", sides.headline.level === "error");
  $("tagline").textContent = sides.headline.level === "ok" ? sides.headline.text : "One address for local and cloud models.";
}
function showReading(reading) {
  const waiting = reading?.at_next_start || [];
  say("settings", reading?.error ? `The settings stay as they were. ${reading.error}`
    : [waiting.length && `These settings count at the next start of the server: ${waiting.join(", ")}.`, ...(reading?.warnings || [])].filter(Boolean).join(" "));
}
async function refreshInfo() {
  info = await ask("/info");
  showReading(info.settings);
}
$("reread").addEventListener("click", async () => {
  try {
    const reading = await ask("/settings/reload", { method: "POST" });
    $("reread-result").textContent = reading.changed.length ? `Changed: ${reading.changed.join(", ")}` : "Nothing has changed.";
    await refresh();
  } catch (error) {
    $("reread-result").textContent = "";
    await refreshInfo().catch(() => {});  // first: an older answer of /info would clear the message
    say("settings", error.message);
  }
});
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
    await refreshInfo();
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
$("older").addEventListener("click", () => { limit = Math.min(500, limit * 5); refreshDecisions().catch(() => {}); });
$("span").addEventListener("change", () => { refreshStats().then(refreshConfidence).catch(() => {}); });
new ResizeObserver(() => { if (traffic) showTraffic(traffic); }).observe($("traffic"));
let ticks = 0, stale = false;
const SLOW = 15;  // ticks between two polls while events come; polls also show requests of other processes
async function renew() {
  if (document.hidden) return;
  ticks += 1;
  if (!info) { if ($("locked").hidden) await refresh(); return; }
  try {
    if (!hearing || ticks % SLOW === 0) stale = await refreshDecisions() || stale;
    if (!hearing && ticks % 2 === 0) await refreshSides();
    if (ticks % 5 === 0) await refreshInfo();
    stale = stale || ticks % 10 === 0;
    if (stale && Date.now() - counted > 5000) { stale = false; await refreshStats(); }
    if (ticks % 30 === 0) await refreshConfidence();
    say("connection", "");
  } catch (error) {
    if ($("locked").hidden) { say("connection", `The router does not answer (${error.message}). The page tries again.`); info = null; }
  }
}
async function forever() {
  await renew();
  keepListening();
  setTimeout(forever, 2000);
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) listening?.abort();
  else renew();
});
refresh().then(() => { keepListening(); setTimeout(forever, 2000); });
