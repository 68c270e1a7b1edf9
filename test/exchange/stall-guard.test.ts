import { execFile } from 'node:child_process'
import t from 'tap'

const GUARD = new URL('../../src/exchange/stall-guard.js', import.meta.url).href

/** A process with a guard that runs `then`. */
async function guarded(stallMsMax: number, then: string): Promise<{ signal: string | null; err: string }> {
  const script = `import(${JSON.stringify(GUARD)}).then(({ guardAgainstStalls }) => { guardAgainstStalls(${stallMsMax}); ${then} })`
  return new Promise((resolve) => {
    const child = execFile(process.execPath, ['-e', script], { timeout: 20_000, killSignal: 'SIGTERM' }, (_, __, err) =>
      resolve({ signal: child.signalCode, err }),
    )
  })
}

t.test('the guard ends a stalled process [1]', async (t) => {
  const { signal, err } = await guarded(500, 'setTimeout(() => { for (;;); }, 100)')
  t.equal(signal, 'SIGKILL')
  t.match(err, 'the exchange stood still for 500 ms')
})

t.test('a running process ends by itself', async (t) => {
  t.match(await guarded(2000, 'setTimeout(() => {}, 100)'), { signal: null, err: '' })
})
