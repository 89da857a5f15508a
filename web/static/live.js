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
function showReading(reading) {
  const waiting = reading?.at_next_start || [];
  say("settings", reading?.error ? `The settings stay as they were. ${reading.error}`
    : waiting.length ? `These settings count at the next start of the server: ${waiting.join(", ")}.` : "");
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
}
async function refresh() {
  try {
    await refreshSides();
    await refreshInfo();
    $("locked").hidden = true;
    $("links").hidden = info.needs_key;  // a link cannot send a key
    document.querySelectorAll(".open").forEach(section => { section.hidden = false; });
    showClient();
    if (!$("prompt").value) showVerdict(null);
    showDecisions(await ask(`/decisions?limit=${limit}`));
    await refreshStats();
    say("connection", "");
  } catch (error) {
    say("connection", $("locked").hidden ? `The router does not answer (${error.message}). The page tries again.` : "");
    showClient();
  }
}
$("older").addEventListener("click", () => { limit = Math.min(500, limit * 5); renew(); });
$("span").addEventListener("change", () => { refreshStats().catch(() => {}); });
new ResizeObserver(() => { if (traffic) showTraffic(traffic); }).observe($("traffic"));
let ticks = 0, stale = false;
async function renew() {
  if (document.hidden) return;
  ticks += 1;
  if (!info) { if ($("locked").hidden) await refresh(); return; }
  try {
    const news = showDecisions(await ask(`/decisions?limit=${limit}`));
    if (ticks % 2 === 0) await refreshSides();
    if (ticks % 5 === 0) await refreshInfo();
    stale = stale || news || ticks % 10 === 0;
    if (stale && Date.now() - counted > 5000) { stale = false; await refreshStats(); }
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
