// ---- one decision, explained
function gauge(score, threshold, shown = true) {
  const mark = sides.cloud.state === "unconfigured" ? `threshold ${threshold}, without a cloud` : `cloud from ${threshold}`;
  const x = n => `${n}%`;
  const box = draw("svg", { class: "gauge", role: "img", "aria-label": `Score ${Math.round(score)} of 100, threshold ${threshold}` });
  box.append(draw("rect", { class: "track", x: .5, y: 12.5, width: "100%", height: 11, rx: 5.5 }));
  if (shown) box.append(draw("rect", { class: "fill", x: 0, y: 12, width: x(Math.max(1.2, score)), height: 12, rx: 6 }));
  box.append(draw("line", { class: "mark", x1: x(threshold), x2: x(threshold), y1: 7, y2: 29 }),
    draw("text", { x: x(threshold), y: 42, "text-anchor": threshold > 90 ? "end" : threshold < 10 ? "start" : "middle" }, mark));
  return box;
}
const LETTERS = 3;
// What gave a signal its points. Fragments of words explain nothing, so they are not shown.
function evidenceOf(evidence, signal) {
  const found = (evidence || []).filter(one => one.signal === signal && Math.abs(one.points) >= 1);
  const shown = found.flatMap(one => one.words.filter(word => word.length >= LETTERS))
    .concat(found.filter(one => !one.words.length && signal === "structure").map(one => one.count.replaceAll("_", " ")));
  return [...new Set(shown)].slice(0, 8).join(", ");
}
// Bars have one scale for all prompts, so that prompts can be compared: the range of the signals.
const LOWEST = -15, HIGHEST = 50;
function signalTable(signals, evidence, tokens) {
  const at = n => (Math.max(LOWEST, Math.min(HIGHEST, n)) - LOWEST) / (HIGHEST - LOWEST) * 100;
  return el("table", { class: "signals" }, el("caption", { class: "hidden" }, "Points by signal"), el("tbody", {}, ...Object.entries(signals || {}).map(([name, n]) => {
    const explained = name === "token_count" && tokens != null ? `${whole.format(tokens)} tokens`
      : evidenceOf(evidence, name) || (evidence && Math.abs(n) >= 1 ? GENERAL[name] || "" : "");
    return el("tr", {}, el("th", { scope: "row" }, signalName(name)), el("td", { class: "points" }, points(n)),
      el("td", { class: "bar" }, draw("svg", { "aria-hidden": "true" },
        draw("line", { class: "axis", x1: `${at(0)}%`, x2: `${at(0)}%`, y1: 0, y2: 10 }),
        n ? draw("rect", { class: n > 0 ? "plus" : "minus", x: `${at(Math.min(0, n))}%`, y: 1, width: `${Math.max(.6, at(Math.max(0, n)) - at(Math.min(0, n)))}%`, height: 8, rx: 2.5 }) : null),
        el("div", { class: "dim" }, explained)));
  })));
}
function facts(list) {
  return el("dl", {}, ...list.filter(([, value]) => value != null && value !== "" && value !== false)
    .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}
function explained(d) {
  const usage = d.usage;
  const tokens = usage && `${whole.format(usage.prompt_tokens)} in${usage.cached_tokens ? ` (${whole.format(usage.cached_tokens)} cached)` : ""}, ${whole.format(usage.completion_tokens)} out${usage.reasoning_tokens ? ` (${whole.format(usage.reasoning_tokens)} thinking)` : ""}`;
  const gates = d.gates.filter(gate => gate !== d.reason);
  const mark = el("div", { class: "actions" }, el("span", { class: "dim small" }, "Was the answer good enough?"));
  for (const word of ["good", "bad"]) {
    const button = el("button", { type: "button", "aria-pressed": String(d.feedback === word) }, word === "good" ? "Good" : "Bad");
    button.addEventListener("click", async () => {
      try {
        await ask("/feedback", { method: "POST", body: JSON.stringify({ request_id: d.id, feedback: word }) });
        d.feedback = word;
        mark.querySelectorAll("button").forEach(b => b.setAttribute("aria-pressed", String(b === button)));
      } catch (error) { say("feedback", error.message); }
    });
    mark.append(button);
  }
  return el("div", { class: "more" },
    el("div", {}, el("h3", {}, d.outcome === "failed" ? "Why did it fail?" : d.target ? `Why ${d.target === "cloud" ? "the cloud" : "local"}?` : "What happened?"),
      el("p", {}, why(d)), d.message && el("p", { class: "failed" }, d.message), ...gates.map(gate => el("p", { class: "dim small" }, `Also: ${REASONS[gate] || gate}`)),
      remedy(d) && el("p", { class: "small" }, remedy(d)),
      d.reason && gauge(d.score, d.threshold), d.reason && signalTable(d.signals)),
    el("div", {}, el("h3", {}, "The request"), d.prompt ? el("blockquote", {}, d.prompt) : null,
      facts([
        ["Time", dated.format(new Date(d.time * 1000))], ["Model", [d.model, d.backend && d.backend !== "local" ? `(${d.backend})` : ""].join(" ").trim()],
        ["Asked for", d.asked_model], ["Caller", d.user_agent], ["Dialect", d.dialect],
        ["First word", d.first_byte_ms != null && ms(d.first_byte_ms)], ["In all", d.total_ms != null && ms(d.total_ms)],
        ["Speed", d.tokens_per_s && `${Math.round(d.tokens_per_s)} tokens per second`],
        ["Tokens", tokens], ["Cost", d.target === "cloud" ? usd(d.cost_usd) : null],
        ["Saved", d.saved_usd != null ? `${usd(d.saved_usd)} (estimate)` : null],
        [`At threshold ${d.shadow_threshold}`, d.shadow_target],
        ["Confidence", d.confidence ? percent.format(d.confidence) : null],
        ...d.attempts.map(a => ["Failed before", `${a.backend} ${a.model}: ${a.message || a.error} (${ms(a.ms)})`]),
        ["Outcome", d.outcome === "done" ? null : d.outcome === "left" ? "the caller hung up" : `failed: ${d.error} (${d.status})`],
        ["Id", d.id],
      ]), el("div", { class: "actions" }, copyButton(d.id)), d.target ? mark : null));
}

// ---- decisions as they happen
const shown = new Map();
let limit = 20;
function row(d) {
  const target = sideOf(d), date = new Date(d.time * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const took = d.outcome === "failed" ? el("span", { class: "failed" }, `HTTP ${d.status}`)
    : d.outcome === "left" ? `hung up after ${ms(d.total_ms)}` : `${ms(d.first_byte_ms)}${d.usage ? ` · ${whole.format(d.usage.prompt_tokens)} in, ${whole.format(d.usage.completion_tokens)} out` : ""}${d.target === "cloud" && d.cost_usd != null ? ` · ${usd(d.cost_usd)}` : ""}`;
  const summary = el("summary", {},
    el("a", { class: "when dim small", href: linkTo(d.id), title: "Link to this decision" },
      el("time", { datetime: date.toISOString() }, today ? clock.format(date) : dated.format(date))),
    el("span", { class: `tag ${target}` }, d.outcome === "failed" ? "failed" : d.target || "none"),
    el("span", { class: "score" }, ...(d.reason ? [el("span", { class: "hidden" }, "score "), String(Math.round(d.score))] : [])),
    el("span", { class: "why" }, el("div", {}, d.prompt || d.message || why(d)), el("div", { class: "dim small" }, [(d.prompt || d.message) && why(d) !== d.message && why(d), d.model, clientName(d.user_agent)].filter(Boolean).join(" · "))),
    el("span", { class: "took" }, took));
  const details = el("details", {}, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(explained(d));
    nameInAddress(d.id, details.open);
  });
  return el("li", { class: target }, details);
}
function forgetDecisions() {
  shown.clear();
  $("decisions").replaceChildren();
}
function showDecisions({ decisions }) {
  const list = $("decisions");
  const oldest = Math.min(...[...shown.values()].map(({ time }) => time));
  let before = null, arrived = false;
  for (const d of decisions) {
    const known = shown.get(d.id), text = JSON.stringify(d);
    let item = known?.item;
    if (!known || (known.text !== text && !item.querySelector("details").open)) {
      const fresh = row(d);
      if (item) {
        const focused = item.contains(document.activeElement);
        item.replaceWith(fresh);
        if (focused) fresh.querySelector("summary").focus({ preventScroll: true });
      }
      else if (d.time > oldest) { arrived = true; fresh.classList.add("new"); }
      item = fresh;
      shown.set(d.id, { item, text, time: d.time, d });
    }
    const place = before ? before.nextElementSibling : list.firstElementChild;
    if (place !== item) list.insertBefore(item, place);
    before = item;
  }
  const ids = new Set(decisions.map(d => d.id));
  for (const [id, { item }] of shown) if (!ids.has(id)) { item.remove(); shown.delete(id); }
  $("nothing").hidden = decisions.length > 0;
  $("nothing").textContent = isFiltered() ? "No request matches the filter." : "No requests yet. Connect a client below, and its requests appear here.";
  $("older").hidden = decisions.length < limit || limit >= 500;
  return arrived;
}

// ---- where would it go?
let typing = 0, asking = null;
const SPEECH = { local: "stays local", cloud: "goes to the cloud" };
function showVerdict(d) {
  const box = $("verdict");
  if (!d) {
    box.className = "none";
    box.replaceChildren(el("div", { class: "verdict" }), gauge(0, info ? info.threshold : 50, false));
    return;
  }
  if (!d.target) {
    box.className = "none";
    put(box, el("div", { class: "verdict" }, el("b", {}, String(Math.round(d.score))), el("span", {}, d.error)),
      gauge(d.score, d.threshold), signalTable(d.signals, d.evidence, d.tokens));
    $("spoken").textContent = `Score ${Math.round(d.score)}: no side can answer. ${d.error}`;
    return;
  }
  box.className = d.target;
  const also = d.gates.filter(gate => gate !== d.reason).map(gate => REASONS[gate] || gate);
  put(box,
    el("div", { class: "verdict" }, el("b", {}, String(Math.round(d.score))), el("span", { class: `tag ${d.target}` }, d.target),
      el("span", {}, why(d)), el("span", { class: "dim small" }, [d.model, `${whole.format(d.tokens)} tokens`, ...also].join(" · "))),
    remedy(d) && el("p", { class: "small" }, remedy(d)), gauge(d.score, d.threshold), signalTable(d.signals, [...d.evidence, ...reach(d)], d.tokens));
  $("spoken").textContent = `Score ${Math.round(d.score)}: it ${SPEECH[d.target]}. ${why(d)}`;
}
// What the row for the local model is about.
function reach(d) {
  return d.reach ? [{ signal: "local_model", points: d.reach.points, words: [d.reach.family || d.reach.model, d.kind].filter(Boolean) }] : [];
}
async function classify() {
  const prompt = $("prompt").value;
  asking?.abort();
  if (!prompt.trim()) { showVerdict(null); return; }
  asking = new AbortController();
  try {
    showVerdict(await ask("/classify", { method: "POST", body: JSON.stringify({ prompt, local_model: $("supposed").value || undefined }), signal: asking.signal }));
  } catch (error) {
    if (error.name === "AbortError") return;
    $("verdict").className = "none";
    $("verdict").replaceChildren(el("p", { class: "dim" }, error.message));
  }
}
$("supposed").addEventListener("change", classify);
$("prompt").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(classify, 120); });
