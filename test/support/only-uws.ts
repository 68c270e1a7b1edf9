const { platform, arch, versions } = process
/** The package that a release has for this machine. */
export const RELEASED_UWS = `mkondo-uws-${platform}-${arch}-node${versions.node.split('.')[0] ?? ''}`
/** The packages that may hold uWebSockets.js (docs/adr/0023-two-packages-of-uwebsockets.md). */
const PACKAGES = ['uWebSockets.js', RELEASED_UWS, 'uws-pack', '@btc-vision/uwebsockets.js']

/**
 * Options for `node` with which only these packages of uWebSockets.js load; the one that this machine has plays each.
 * @param loads  their names
 */
export async function onlyUws(loads: readonly string[]): Promise<readonly string[]> {
  let here = ''
  for (const name of PACKAGES) here ||= await import(name).then(() => name).catch(() => '')
  const hooks = `export const resolve = (name, context, next) => {
    if (!${JSON.stringify(PACKAGES)}.includes(name)) return next(name, context)
    if (!${JSON.stringify(loads)}.includes(name)) throw new Error('first line\\nCannot find module ./bin/' + name)
    return next(${JSON.stringify(here)}, context)
  }`
  const asDataUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`
  const register = `import { register } from 'node:module'
    register(${JSON.stringify(asDataUrl(hooks))}, ${JSON.stringify(import.meta.url)})`
  return ['--import', asDataUrl(register)]
}
