import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { RELEASED_UWS, onlyUws } from '../support/only-uws.js'

const edge = new URL('../../src/edge/uws.js', import.meta.url).href

/** What a process says that imports the edge where these packages load. */
async function importWith(loads: readonly string[]): Promise<string> {
  const script = `const said = await import(${JSON.stringify(edge)}).then(
      ({ createApp }) => typeof createApp(),
      ({ code, message }) => code + ': ' + message)
    console.log(said)
    process.exit(0)`
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...(await onlyUws(loads)),
    '--input-type=module',
    '-e',
    script,
  ])
  return stdout.trim()
}

t.test('uWebSockets.js comes from the package that loads here; with none the start names all', async (t) => {
  const [clone, release, image, none] = await Promise.all([
    importWith(['uWebSockets.js']),
    importWith([RELEASED_UWS]),
    importWith(['@btc-vision/uwebsockets.js']),
    importWith([]),
  ])
  t.strictSame([clone, release, image], ['object', 'object', 'object'])
  t.match(none, /^CONFIG_INVALID: no uWebSockets\.js for Node [\d.]+ .*npm install @btc-vision\/uwebsockets\.js@20/)
  t.match(
    none,
    `uWebSockets.js: Cannot find module ./bin/uWebSockets.js; ${RELEASED_UWS}: Cannot find module ./bin/${RELEASED_UWS}; @btc`,
    'and why',
  )
})
