/**
 * Returns all bytes of the body of a request or of an answer. If the body is too large, reading stops and the body
 * is destroyed.
 * @returns the bytes; null if the body is larger than `bytesMax`
 * @throws the error of the body if the connection breaks
 */
export async function bytesOf(body: AsyncIterable<Buffer>, bytesMax: number): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > bytesMax) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, bytes)
}
