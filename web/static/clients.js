// ---- connect
const root = location.origin, v1 = `${root}/v1`;
const secret = () => info && info.needs_key || !$("locked").hidden ? "YOUR_ROUTER_API_KEY" : "unused";
const context = () => sides.local.can?.context_tokens || 32768;
const CLIENTS = [
  ["curl", "", () => `curl ${v1}/chat/completions -H 'Content-Type: application/json' \\
${secret() === "unused" ? "" : `  -H 'Authorization: Bearer ${secret()}' \\\n`}  -d '{"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}' -i`],
  ["openai SDK", "", () => `from openai import OpenAI

client = OpenAI(base_url="${v1}", api_key="${secret()}")
print(client.responses.create(model="auto", input="What is the capital of France?").output_text)`],
  ["anthropic SDK", "", () => `from anthropic import Anthropic

client = Anthropic(base_url="${root}", api_key="${secret()}")  # without /v1`],
  ["Claude Code", "In the shell that starts it:", () => `export ANTHROPIC_BASE_URL=${root}   # without /v1
export ANTHROPIC_AUTH_TOKEN=${secret()}
export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1   # the picker (/model) lists the router's names
export CLAUDE_CODE_GATEWAY_HINT_HEADERS=1             # says what each request is for
export CLAUDE_CODE_MAX_CONTEXT_TOKENS=200000          # of the model that answers
claude --model claude-auto`],
  ["Codex", "In ~/.codex/config.toml:", () => `model = "auto"
model_provider = "llm-router"

[model_providers.llm-router]
name = "llm-router"
base_url = "${v1}"
wire_api = "responses"

[model_providers.llm-router.auth]  # prints the router's key, or any text if it has none
command = "echo"
args = ["${secret()}"]`],
  ["aider", "In the shell that starts it:", () => `export OPENAI_API_BASE=${v1}
export OPENAI_API_KEY=${secret()}
aider --model openai/auto --no-show-model-warnings`],
  ["opencode", "In ~/.config/opencode/opencode.json:", () => `{
  "$schema": "https://opencode.ai/config.json",
  "provider": {
    "llm-router": {
      "npm": "@ai-sdk/openai-compatible",
      "name": "llm-router",
      "options": { "baseURL": "${v1}", "apiKey": "${secret()}" },
      "models": { "auto": { "name": "auto", "limit": { "context": ${context()}, "output": 8192 } } }
    }
  },
  "model": "llm-router/auto",
  "small_model": "llm-router/auto"
}`],
  ["Continue", "In ~/.continue/config.yaml:", () => `name: llm-router
version: 1.0.0
schema: v1
models:
  - name: auto
    provider: openai
    model: auto
    apiBase: ${v1}
    apiKey: ${secret()}
    roles: [chat, edit, apply]
    capabilities: [tool_use]`],
  ["Open WebUI", "", () => `OPENAI_API_BASE_URL=${v1} OPENAI_API_KEY=${secret()} ENABLE_OLLAMA_API=False open-webui serve`],
  ["llm", `In extra-openai-models.yaml (llm logs path names the folder); then: llm keys set router, and llm -m router "…"`, () => `- model_id: router
  model_name: auto
  api_base: ${v1}
  api_key_name: router
  supports_tools: true
  supports_schema: true
  vision: true`],
];
let client = 0;
function showClient() {
  const [, note, text] = CLIENTS[client];
  $("client-note").textContent = note;
  $("snippet").textContent = text();
}
CLIENTS.forEach(([name], i) => {
  const input = el("input", { type: "radio", name: "client", value: i });
  input.checked = i === 0;
  input.addEventListener("change", () => { client = i; showClient(); });
  $("clients").append(el("label", {}, input, el("span", {}, name)));
});
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("snippet"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
