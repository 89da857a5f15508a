// ---- the stream of events; without it, live.js polls every two seconds
const FIRST_EVENT_MS = 5000, SILENCE_MS = 40000, RETRY_MS = 30000;
let hearing = false, listening = null, retryAt = 0;
// EventSource cannot send the key, so the stream is read by hand.
async function listen() {
  const stop = listening = new AbortController();
  let timer = setTimeout(() => stop.abort(), FIRST_EVENT_MS);
  try {
    const response = await fetch("/events", { headers: key ? { authorization: `Bearer ${key}` } : {}, signal: stop.signal, cache: "no-store" });
    if (response.status === 401) lock();
    if (!response.ok) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) await hear(event);
    }
  } finally {
    clearTimeout(timer);
    hearing = false;
    stop.abort();
  }
}
async function hear(event) {
  const field = name => event.split("\n").find(line => line.startsWith(`${name}: `))?.slice(name.length + 2);
  const name = field("event"), data = name && JSON.parse(field("data"));
  if (name === "sides") {
    showSides(data);
    if (!hearing) await refreshDecisions();  // decisions from before the stream was open
    hearing = true;
    say("connection", "");
  } else if (name === "decision") arrive(data);
  else if (name === "missed") await refreshDecisions();
}
function arrive(d) {
  stale = true;
  if (!isWanted(d)) return;
  const others = [...shown.values()].map(known => known.d).filter(known => known.id !== d.id);
  const newestFirst = [d, ...others].sort((a, b) => b.time - a.time);
  showDecisions({ decisions: newestFirst.slice(0, limit) });
}
async function keepListening() {
  if (info && !document.hidden && !listening && Date.now() >= retryAt) {
    await listen().catch(() => {});
    listening = null;
    if (!document.hidden) retryAt = Date.now() + RETRY_MS;
  }
}
