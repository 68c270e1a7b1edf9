/** A text as UTF-8, in memory that all threads have in common: no call copies it to its worker. */
export function sharedText(text: string): SharedArrayBuffer {
  const bytes = new TextEncoder().encode(text)
  const memory = new SharedArrayBuffer(bytes.length)
  new Uint8Array(memory).set(bytes)
  return memory
}
