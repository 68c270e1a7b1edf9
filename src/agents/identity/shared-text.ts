/** Copies a text as UTF-8 into memory that all threads share, so that a call need not copy it to its worker. */
export function sharedText(text: string): SharedArrayBuffer {
  const bytes = new TextEncoder().encode(text)
  const memory = new SharedArrayBuffer(bytes.length)
  new Uint8Array(memory).set(bytes)
  return memory
}
