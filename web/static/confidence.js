// ---- calibration of the local model's own certainty
const BY = { words: "by the probabilities of its words", check: "by its check of the answer" };
const logistic = odds => 1 / (1 + Math.exp(-odds));
// Draws the share of good answers over the model's own certainty, above the answers that there are.
function certaintyChart(one) {
  const width = 420, height = 190, left = 38, right = 8, top = 8, bottom = 34;
  const x = share => left + share * (width - left - right), y = share => height - bottom - share * (height - bottom - top);
  const good = certainty => logistic(one.intercept + one.slope * Math.log(certainty / (1 - certainty)));
  const chart = draw("svg", { class: "chart certainty", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `An answer is kept from ${percent.format(one.least)} likely to be good. ` +
      [0.5, 0.8, 0.95].map(own => `${percent.format(own)} sure by itself: ${percent.format(good(own))} good`).join("; ") });
  for (const share of [0, .5, 1]) chart.append(
    draw("line", { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }),
    draw("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent.format(share)),
    draw("text", { x: x(share), y: height - bottom + 15, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" }, percent.format(share)));
  const most = Math.max(1, ...one.seen), bins = one.seen.length;
  one.seen.forEach((n, i) => n && chart.append(draw("rect", { class: good((i + .5) / bins) < one.least ? "unsure" : "sure",
    x: x(i / bins) + 1, width: (width - left - right) / bins - 2, y: y(n / most * .45), height: y(0) - y(n / most * .45) })));
  const path = Array.from({ length: 99 }, (_, i) => (i + 1) / 100).map(own => `${x(own).toFixed(1)},${y(good(own)).toFixed(1)}`);
  chart.append(draw("line", { class: "least", x1: left, x2: width - right, y1: y(one.least), y2: y(one.least) }),
    draw("polyline", { class: "curve", points: path.join(" ") }),
    draw("text", { x: x(.5), y: height - 4, "text-anchor": "middle" }, "how sure the model is by itself"));
  return chart;
}
function outcomeOf(one, mode, span) {
  if (!one.looked_at) return `No answer of the last ${span} is one that it looks at.`;
  const cost = one.cost_usd || !one.unpriced ? `for about ${usd(one.cost_usd)}` : "at an unknown price";
  const some = `${whole.format(one.unsure)} (${percent.format(one.unsure / one.looked_at)})`;
  const did = mode === "on" ? `started over on the cloud, ${cost}` : `would have started over on the cloud, ${cost}`;
  return `Of ${whole.format(one.looked_at)} answers of the last ${span}, ${some} ${did}.`;
}
function showConfidence(found) {
  const span = found.days === 1 ? "24 hours" : `${whole.format(found.days)} days`;
  const { mode } = found, without = Object.entries(found.uncalibrated);
  $("confidence").hidden = mode === "off" || !(found.calibrations.length || without.length);
  $("confidence-mode").textContent = `LOCAL_CONFIDENCE=${mode}` + (mode === "shadow" ? ": one answer in 64 is looked at, none is changed" : "");
  put($("curves"), ...found.calibrations.map(one => el("div", {},
    el("h3", {}, `${one.model}, ${BY[one.signal]}`), certaintyChart(one), el("p", { class: "small" }, outcomeOf(one, mode, span)),
    el("p", { class: "dim small" }, `Fitted to ${whole.format(one.labels)} compared answers${one.sure ? "" : "; about 200 are needed to say that it works"}. `
      + `It looks at prompts that score ${Math.max(0, found.from_score)} to ${found.to_score}, and keeps answers from ${percent.format(one.least)} on.`))),
  without.length ? el("p", { class: "dim small" }, `Not calibrated: ${without.map(([model, n]) => `${model} (${whole.format(n)} answers)`).join(", ")}. tune.py compare does it.`) : null);
}
