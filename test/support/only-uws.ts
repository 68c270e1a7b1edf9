const { platform, arch, versions } = process
/** Name of the package in a release for this machine. */
export const RELEASED_UWS = `mkondo-uws-${platform}-${arch}-node${versions.node.split('.')[0] ?? ''}`
/** Packages that may contain uWebSockets.js (docs/adr/0023-two-packages-of-uwebsockets.md). */
const PACKAGES = ['uWebSockets.js', RELEASED_UWS, 'uws-pack', '@btc-vision/uwebsockets.js']

/**
 * Options for `node` that make only some packages of uWebSockets.js loadable. The package that this machine has
 * replaces each of them.
 * @param loads  names of loadable packages
 * @param missing  names of packages that are not installed; the binaries of all remaining packages do not load
 */
export async function onlyUws(loads: readonly string[], missing: readonly string[] = []): Promise<readonly string[]> {
  let here = ''
  for (const name of PACKAGES) here ||= await import(name).then(() => name).catch(() => '')
  const hooks = `export const resolve = (name, context, next) => {
    if (!${JSON.stringify(PACKAGES)}.includes(name)) return next(name, context)
    if (${JSON.stringify(missing)}.includes(name)) throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
    if (!${JSON.stringify(loads)}.includes(name)) throw new Error('first line\\nCannot find module ./bin/' + name)
    return next(${JSON.stringify(here)}, context)
  }`
  const asDataUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`
  const register = `import { register } from 'node:module'
    register(${JSON.stringify(asDataUrl(hooks))}, ${JSON.stringify(import.meta.url)})`
  return ['--import', asDataUrl(register)]
}
