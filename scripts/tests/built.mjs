// Lets tap run a test by the name of its source: for test/x.test.ts it runs the built dist/test/x.test.js.
import { register } from 'node:module'

register(
  'data:text/javascript,' +
    encodeURIComponent(`
  import { existsSync } from 'node:fs'
  const dist = ${JSON.stringify(new URL('../../dist/', import.meta.url).href)}
  const root = ${JSON.stringify(new URL('../../', import.meta.url).href)}
  export async function resolve(specifier, context, nextResolve) {
    if (context.parentURL !== undefined || !specifier.startsWith(root + 'test/') || !specifier.endsWith('.ts'))
      return nextResolve(specifier, context)
    const built = dist + specifier.slice(root.length).replace(/[.]ts$/, '.js')
    if (!existsSync(new URL(built))) throw new Error('not built: ' + built + '; run npm run build')
    return nextResolve(built, context)
  }
`),
)
