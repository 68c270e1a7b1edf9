/** Starts a request now, although its first piece is consumed later. */
export function ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  const first = source.next()
  // An error is thrown when the first piece is consumed.
  first.catch(() => undefined)
  return (async function* () {
    for (let next = await first; next.done !== true; next = await source.next()) yield next.value
  })()
}
