// ---- the server
let key = sessionStorage.getItem("key") || "";
let info = null;
async function ask(path, options = {}) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (options.body) headers["content-type"] = "application/json";
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) { lock(); throw new Error("The key was refused."); }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message || `HTTP ${response.status}`);
  return answer;
}
function lock() {
  if (key) { $("key-help").textContent = "That key was refused. Enter the ROUTER_API_KEY that is set on the server."; key = ""; sessionStorage.removeItem("key"); }
  info = null;
  $("locked").hidden = false;
  $("links").hidden = true;
  ["callers", "last-day", "confidence"].forEach(id => { $(id).hidden = true; });
  document.querySelectorAll(".open").forEach(section => { section.hidden = true; });
}
$("key-form").addEventListener("submit", event => {
  event.preventDefault();
  key = $("key").value.trim();
  sessionStorage.setItem("key", key);
  $("key").value = "";
  refresh().then(() => { if (info) $("main").focus({ preventScroll: true }); });
});

// ---- sides
let sides = { local: {}, cloud: {} };
function showSide(name, side) {
  const can = side.can || {};
  const size = can.context_tokens || can.max_context_tokens;
  const state = STATES[side.state] || side.state;
  const chips = [
    side.server, size && `${whole.format(size)} tokens of context`,
    can.vision === true ? "reads pictures" : can.vision === false ? "text only" : null,
    can.tools === true ? "tools" : can.tools === false ? "no tools" : null,
    side.breaker !== "closed" && side.breaker ? "paused after failures" : null,
    side.running ? `${side.running} running${side.waiting ? `, ${side.waiting} waiting` : ""}` : null,
    ...Object.entries(name === "cloud" && sides.clouds || {}).filter(([other]) => other !== side.backend)
      .map(([other, of]) => `${other} ${of.model || ""}: ${STATES[of.state] || of.state}`),
    side.latency_ms != null && `status check took ${ms(side.latency_ms)}`,
  ].filter(Boolean);
  put($(name),
    el("div", { class: "top" }, el("h2", { id: `h-${name}` }, name === "local" ? "Local" : "Cloud"),
      el("span", { class: "state" }, el("span", { class: `dot ${side.state}` }), state)),
    el("div", { class: "model" }, side.model || "No model"),
    side.detail ? el("p", { class: side.state === "unconfigured" ? "dim small" : "detail" }, side.detail) : null,
    el("ul", { class: "chips" }, ...chips.map(text => el("li", {}, text))),
  );
}

// ---- figures
function pair(of, format) {
  return el("span", { class: "pair" }, ...["local", "cloud"].map(name =>
    el("span", { class: name }, el("span", { class: "hidden" }, `${name} `), format(of[name]))));
}
function showFigures(stats) {
  const { totals, targets } = stats, { cloud } = sides;
  const nothingSaved = totals.unsaved > 0 && !totals.saved_usd;
  const budget = info.cloud_budget_usd_per_day;
  const unknown = (n, what) => n ? `; ${whole.format(n)} ${what}` : "";
  const unanswered = stats.requests - stats.answered;
  const counted = (n, one, many = `${one}s`) => `${whole.format(n)} ${n === 1 ? one : many}`;
  const figures = [
    ["Stayed local", stats.local_share == null ? "–" : percent.format(stats.local_share),
      [`of ${counted(stats.answered, "answer")}`, totals.fallbacks && counted(totals.fallbacks, "fallback"),
        unanswered && `${whole.format(unanswered)} unanswered`].filter(Boolean).join(" · ")],
    ["Saved, estimated", nothingSaved ? "–" : usd(totals.saved_usd),
      nothingSaved ? cloud.model ? "prices or token counts are missing" : "no cloud is set up to compare with"
        : `at the price${cloud.model ? ` of ${cloud.model}` : "s of the cloud"}${unknown(totals.unsaved, "not priced")}`],
    ["Spent in the cloud", usd(totals.cost_usd),
      `${usd(stats.spent_today_usd)} today${budget != null ? ` of ${usd(budget)}` : ""}${unknown(totals.unpriced, "of unknown price")}`],
    ["First word after", pair(targets, of => ms(of.first_byte_ms?.p50)), "median"],
    ["Tokens per second", pair(targets, of => of.tokens_per_s == null ? "–" : whole.format(Math.round(of.tokens_per_s))), "median"],
    ["Tokens written", pair(targets, of => brief(of.completion_tokens, targets.local.completion_tokens, targets.cloud.completion_tokens)),
      `${brief(totals.prompt_tokens)} read`],
  ];
  const shadow = stats.shadow;
  if (shadow) figures.push([`Local at threshold ${shadow.threshold}`, percent.format(shadow.shadow_local_share),
    `in place of ${percent.format(shadow.local_share)} · ${usd(shadow.shadow_cost_usd)} in the cloud in place of ${usd(shadow.cost_usd)}, estimated · ${counted(shadow.requests, "answer")}`]);
  const ratings = [totals.good && `${whole.format(totals.good)} rated good`, totals.bad && `${whole.format(totals.bad)} rated bad`,
    stats.repeated && `${whole.format(stats.repeated)} asked again of the cloud`].filter(Boolean);
  $("live").textContent = ["Open one to see why.", ...ratings].join(" · ");
  $("figures").replaceChildren(...figures.map(([name, value, note]) => el("div", {},
    el("dt", {}, name), el("dd", { class: "big" }, value), el("dd", { class: "note" }, note))));
  $("journal").textContent = stats.journal.path ? `Journal: ${stats.journal.path}` : "Journal: in memory only";
  say("journal", stats.journal.trouble);
}

// ---- traffic
let traffic = null, cursor = -1;
function label(at, slotS) {
  const date = new Date(at * 1000);
  return slotS >= 86400 ? day.format(date) : hour.format(date);
}
function tick(at, slotS) {
  const date = new Date(at * 1000), start = new Date(date).setHours(0, 0, 0, 0);
  if (slotS >= 86400) return day.format(date);
  if (slotS > 3600) return date - start < slotS * 1000 ? weekday.format(date) : "";
  return date.getHours() % 3 === 0 && date.getMinutes() === 0 ? oclock.format(date) : "";
}
function describe(point, slotS) {
  const answered = point.local + point.cloud;
  if (!answered && !point.none) return `${label(point.time, slotS)}: no requests`;
  const parts = [`${point.local} local`, `${point.cloud} cloud`];
  if (point.none) parts.push(`${point.none} unanswered`);
  if (answered) parts.push(`${percent.format(point.local / answered)} local`);
  if (point.saved_usd) parts.push(`${usd(point.saved_usd)} saved`);
  if (point.cost_usd) parts.push(`${usd(point.cost_usd)} spent`);
  return `${label(point.time, slotS)}: ${parts.join(" · ")}`;
}
function showTraffic(stats) {
  traffic = stats;
  const curve = stats.over_time, slotS = stats.slot_s;
  const width = $("traffic").clientWidth || 800, height = 190, left = 34, bottom = 24, top = 8;
  const most = Math.max(4, ...curve.map(p => p.local + p.cloud + p.none));
  const step = niceStep(most / 3), ceiling = Math.ceil(most / step) * step;
  const y = n => height - bottom - n / ceiling * (height - bottom - top);
  const pitch = (width - left) / curve.length, bar = Math.max(1.5, Math.min(26, pitch * .68));
  const chart = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `Requests over time, ${whole.format(stats.requests)} in all. Use the arrow keys to read single points.` });
  for (let n = 0; n <= ceiling; n += step) chart.append(
    draw("line", { class: "grid", x1: left, x2: width, y1: y(n), y2: y(n) }),
    draw("text", { x: left - 8, y: y(n) + 4, "text-anchor": "end" }, compact.format(n)));
  let free = left;
  curve.forEach((point, i) => {
    const x = left + i * pitch + (pitch - bar) / 2;
    let base = 0;
    for (const name of ["local", "cloud", "none"]) if (point[name]) {
      chart.append(draw("rect", { class: `b-${name}`, x, width: bar, y: y(base + point[name]),
        height: Math.max(1, y(base) - y(base + point[name]) - (base ? 1 : 0)), rx: Math.min(2.5, bar / 3) }));
      base += point[name];
    }
    const name = tick(point.time, slotS), at = left + i * pitch;
    if (name && at >= free && at + 66 < width) {
      chart.append(draw("text", { x: at, y: height - 6 }, name));
      free = at + 62;
    }
  });
  const mark = draw("rect", { class: "cursor", y: top, height: height - bottom - top, width: pitch, visibility: "hidden" });
  chart.append(mark);
  const select = i => {
    cursor = Math.max(0, Math.min(curve.length - 1, i));
    mark.setAttribute("x", left + cursor * pitch);
    mark.setAttribute("visibility", "visible");
    $("readout").textContent = describe(curve[cursor], slotS);
  };
  chart.addEventListener("pointermove", event => {
    const x = event.clientX - chart.getBoundingClientRect().left;
    select(Math.floor((x - left) / pitch));
  });
  chart.addEventListener("pointerleave", () => { mark.setAttribute("visibility", "hidden"); summarise(stats); });
  chart.addEventListener("keydown", event => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 }[event.key];
    if (move) { event.preventDefault(); select((cursor < 0 ? curve.length : cursor) + move); }
  });
  const focused = $("traffic").contains(document.activeElement);
  $("traffic").replaceChildren(chart);
  if (focused) chart.focus({ preventScroll: true }); else summarise(stats);
  $("key-none").hidden = !curve.some(point => point.none);
  $("traffic-rows").replaceChildren(...curve.filter(p => p.local + p.cloud + p.none).map(p => el("tr", {},
    el("th", {}, label(p.time, slotS)), ...[p.local, p.cloud, p.none, usd(p.saved_usd)].map(v => el("td", {}, String(v))))));
}
function showCallers(callers) {
  const names = Object.entries(callers).sort(([, a], [, b]) => b.requests - a.requests);
  $("callers").hidden = !names.length;
  $("caller-rows").replaceChildren(...names.map(([name, of]) => el("tr", {}, el("th", {}, name),
    ...[of.local, of.cloud, of.completion_tokens].map(n => el("td", {}, whole.format(n))),
    el("td", {}, usd(of.cost_usd)), el("td", {}, usd(of.spent_today_usd)))));
}
function showLastDay({ cost_usd, saved_usd, clients }) {
  clients = clients.filter(of => of.local + of.cloud);
  $("last-day").hidden = !clients.length;
  $("last-day-sum").textContent = `${usd(cost_usd)} spent · ${usd(saved_usd)} saved, estimated`;
  $("client-rows").replaceChildren(...clients.map(of => el("tr", {}, el("th", { scope: "row" }, of.client || "not named"),
    ...[of.local, of.cloud, of.prompt_tokens, of.completion_tokens].map(n => el("td", {}, whole.format(n))),
    el("td", {}, of.unpriced && !of.cost_usd ? "unknown" : usd(of.cost_usd)), el("td", {}, usd(of.saved_usd)))));
}
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  return [1, 2, 5, 10].map(n => n * power).find(n => n >= rough) || 10 * power;
}
function summarise(stats) {
  cursor = -1;
  const top = stats.reasons.slice(0, 3).map(r => `${r.reason.replaceAll("_", " ") || "undecided"} ${percent.format(r.requests / stats.requests)}`);
  $("readout").textContent = top.length ? `Most frequent reasons: ${top.join(" · ")}` : "No requests in this time.";
}
