"use strict";
const $ = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// Everything that comes from the server reaches the page as text, never as markup.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value != null && value !== false) node.setAttribute(name, value);
  node.append(...children.filter(child => child != null && child !== false && child !== ""));
  return node;
}
const put = (node, ...children) => node.replaceChildren(...children.filter(child => child != null));
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// ---- numbers as people read them
const whole = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
// Numbers that stand side by side are written alike.
const brief = (n, ...beside) => (Math.max(n, ...beside) < 100000 ? whole : compact).format(n);
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const dollars = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD" });
const cents = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", maximumSignificantDigits: 2 });
const dated = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const hour = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "numeric", minute: "2-digit" });
const oclock = new Intl.DateTimeFormat(undefined, { hour: "numeric" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const usd = n => n == null ? "unknown" : n > 0 && n < 0.1 ? cents.format(n) : dollars.format(n);
const ms = n => n == null ? "–" : n < 950 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(n < 9950 ? 1 : 0)} s`;
const points = n => `${n > 0 ? "+" : n < 0 ? "−" : ""}${Math.abs(Math.round(n * 10) / 10)}`;

// ---- words
const STATES = { ready: "Ready", cold: "Up, model not loaded", locked: "Key refused", down: "Down", unconfigured: "Not set up" };
// What a signal measures where no single word explains its points.
const GENERAL = {
  complex_keywords: "the wording as a whole", simple_keywords: "the wording as a whole",
  reasoning_cues: "the wording as a whole", structure: "its form", conversation: "the turns before it", local_model: "the model that is loaded",
};
const signalName = name => name.replaceAll("_", " ");
const REASONS = {
  private: "It holds something private, so it must not leave this machine.",
  forced: "The caller asked for this side.",
  background: "A program asked it for its own use (a title, tags…), which stays local.",
  vision: "It holds pictures, and the local model cannot read them.",
  tools: "It needs tools, and the local model was not trained for them.",
  context: "It does not fit into the context that the local model has loaded.",
  compaction: "It sums up the conversation, so it goes to the side that has it in its cache.",
  subagent: "An agent asked that another agent had started, so SUBAGENTS decides.",
  too_long: "The prompt is longer than MAX_LOCAL_TOKENS.",
  budget: "Today’s cloud budget is spent.",
  slow: "The first word would take longer than LOCAL_PATIENCE_S on the local side.",
  local_cold: "The local model must first be loaded.",
  local_busy: "The local queue is full.",
  inherited: "It is a follow-up in a conversation that is hard or the cloud’s, so the cloud goes on.",
  no_signal: "Nothing in it shows how hard it is, so UNSURE_TARGET decides.",
  complex: "It scores at or above the threshold.",
  simple: "It scores below the threshold.",
  local_down: "The local side did not answer.",
  cloud_down: "The cloud did not answer.",
  cloud_unconfigured: "No cloud is set up.",
  escalated: "The local answer was not usable, so the cloud started over.",
  stalled: "The agent went in circles on the local model, so the cloud took over.",
};
// Returns what would have kept a request local.
function remedy(record) {
  if (record.target !== "cloud") return null;
  if (record.fix) return `This would make it fit: ${record.fix}`;
  if (record.reason === "vision") return "A local model that reads pictures would have taken it.";
  if (record.reason === "tools") return "A local model that was trained for tools would have taken it.";
  if (record.reason === "too_long") return "A higher MAX_LOCAL_TOKENS would have kept it local.";
  return null;
}
// Why a request failed before it was decided.
const REFUSALS = {
  Private: "It holds something private and was forced to the cloud.",
  NoBackend: "No side could answer.",
  InvalidRequest: "The request could not be read.",
  TooLarge: "The request was larger than MAX_BODY_MB.",
};
const firstWord = record => {
  const ms = record.expected_ms ?? record.first_word_s * 1000;
  return ms ? `The local model would take about ${Math.round(ms / 1000)} s to its first word.` : null;
};
const why = record => (record.reason === "slow" && firstWord(record)) || REASONS[record.reason] || record.reason || REFUSALS[record.error] || record.message || "It failed before it was decided.";
