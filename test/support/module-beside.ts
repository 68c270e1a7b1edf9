/**
 * Text of a module in an agents folder that exports a test module's exports: code of agents must be in their folder.
 * @param url  `file:` URL of the test module
 */
export function reexport(url: URL | string): string {
  return `export * from ${JSON.stringify(String(url))}\n`
}
