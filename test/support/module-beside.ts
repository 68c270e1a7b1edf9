/**
 * The text of a module of an agents folder with the exports of a module of the tests: code of agents lies in their folder.
 * @param url  of the other, as a `file:` URL
 */
export function reexport(url: URL | string): string {
  return `export * from ${JSON.stringify(String(url))}\n`
}
