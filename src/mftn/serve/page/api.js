// Requests to the server. Addresses are relative, so that the page works under any path of a proxy.

/** A request that failed; `code` is the server's, or "offline". */
export class Refused extends Error {
  constructor(code, message, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const RETRIES = 5;

/** The response; retries a busy server after the time in Retry-After. Throws Refused, or AbortError. */
export async function ask(path, { query = {}, body, signal, retries = RETRIES } = {}) {
  const address = path + (Object.keys(query).length ? `?${new URLSearchParams(query)}` : "");
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      response = await fetch(address, { method: body ? "POST" : "GET", body, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused("offline", error.message);
    }
    if (response.ok) return response;
    const refused = await refusal(response);
    if (response.status !== 503 || attempt >= retries) throw refused;
    await pause(1000 * (refused.retryAfter || 1), signal);
  }
}

async function refusal(response) {
  const retryAfter = Number(response.headers.get("Retry-After") ?? 0);
  try {
    const { error } = await response.json();
    return new Refused(error.code, error.message, retryAfter);
  } catch {
    return new Refused("failed", `${response.status} ${response.statusText}`, retryAfter);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}

/** The lines of a streamed JSONL response, parsed. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
    if (done) return;
  }
}
