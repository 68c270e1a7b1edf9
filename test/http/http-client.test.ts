import { AsyncLocalStorage } from 'node:async_hooks'
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import dns, { type lookup, type LookupAddress } from 'node:dns'
import { createServer as createHttp } from 'node:http'
import { connect, createServer as createTcp, setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { type AddressPolicy, guardedLookup, policyFor } from '../../src/http/address-guard.js'
import { HttpClient, readAtMost } from '../../src/http/http-client.js'
import { installNameLookup, LookupCounts, NameLookup } from '../../src/http/name-lookup.js'
import { FakeTimers, settled } from '../backends/failover/scripted.js'
import { packageRoot } from '../../src/config/package-root.js'
import { CONNECT_ATTEMPT_MS } from '../../src/core/limits.js'
import { freePort } from '../support/free-ports.js'
import { portOf } from '../support/port-of.js'
import { until } from '../support/until.js'

function clientOf(
  t: Test,
): (url: string, policy: AddressPolicy, signal?: AbortSignal) => ReturnType<HttpClient['send']> {
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  return (url, policy, signal = new AbortController().signal) =>
    client.send({ url: new URL(url), method: 'GET', headers: {}, body: null, policy, signal })
}

t.test('a socket is reused only by requests allowed its address', async (t) => {
  const ports = new Set<number | undefined>()
  const port = await portOf(
    t,
    createHttp((request, response) => {
      ports.add(request.socket.remotePort)
      response.end('hello')
    }),
  )
  const send = clientOf(t)
  for (let request = 0; request < 3; request++) {
    const body = await readAtMost(await send(`http://localhost:${port}/`, 'private'), 5)
    t.equal(body?.toString(), 'hello')
    await setImmediate() // the socket is free once the parser is done with the answer
  }
  t.equal(ports.size, 1)
  await t.rejects(send(`http://localhost:${port}/`, 'public'), { code: 'TOOL_FORBIDDEN_HOST' })
})

t.test('the deadline includes connecting', async (t) => {
  let connected = (): void => undefined
  const arrived = new Promise<void>((resolve) => {
    connected = resolve
  })
  const port = await portOf(
    t,
    createTcp((socket) => {
      t.teardown(() => socket.destroy())
      connected()
    }),
  )
  const deadline = new AbortController()
  const silent = clientOf(t)(`https://127.0.0.1:${port}/`, 'as-written', deadline.signal) // no TLS handshake comes back
  await arrived
  deadline.abort(new Error('too late'))
  await t.rejects(silent, { message: 'too late' })
})

t.test('a body is read only up to its limit', async (t) => {
  const port = await portOf(
    t,
    createHttp((request, response) => {
      if (request.url === '/chunked') response.write('hel')
      response.end(request.url === '/chunked' ? 'lo' : 'hello')
    }),
  )
  const send = clientOf(t)
  for (const path of ['/', '/chunked']) {
    t.equal((await readAtMost(await send(`http://127.0.0.1:${port}${path}`, 'as-written'), 5))?.toString(), 'hello')
    t.equal(await readAtMost(await send(`http://127.0.0.1:${port}${path}`, 'as-written'), 4), null)
  }
})

t.test('a literal address is trusted, but a name is checked', async (t) => {
  t.equal(policyFor('127.0.0.1', false), 'as-written')
  t.equal(policyFor('[::1]', false), 'as-written')
  t.equal(policyFor('localhost', false), 'as-written')
  t.equal(policyFor('shop.example', false), 'public')
  t.equal(policyFor('shop.internal', true), 'private')
})

t.test("a name's addresses are checked when connecting", async (t) => {
  type Answer = (error: null, found: object[]) => void
  const answering = (...addresses: string[]): typeof lookup =>
    ((_host: string, _options: object, callback: Answer) => {
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      )
    }) as unknown as typeof lookup // the one overload that the guard uses
  const ask = (resolver: typeof lookup, all: boolean): Promise<unknown> =>
    new Promise((resolve, reject) => {
      guardedLookup('public', resolver)('shop.example', { all }, (error, address) => {
        if (error === null) resolve(address)
        else reject(error)
      })
    })
  t.same(await ask(answering('8.8.8.8', '10.0.0.1'), true), [{ address: '8.8.8.8', family: 4 }])
  t.equal(await ask(answering('10.0.0.1', '8.8.8.8'), false), '8.8.8.8')
  for (const all of [true, false]) {
    await t.rejects(ask(answering('10.0.0.1', '::1'), all), {
      code: 'TOOL_FORBIDDEN_HOST',
      message: /resolves to no address that this tool may reach/,
    })
  }
})

type Answer = readonly string[] | NodeJS.ErrnoException

/** A resolver whose answers the test gives, and a look-up on a clock that the test moves. */
class Rig {
  readonly timers = new FakeTimers()
  readonly counts = new LookupCounts()
  readonly asked: string[] = []
  readonly #open = new Map<string, (answer: Answer) => void>()
  readonly names = new NameLookup({
    resolve: (hostname, _options, answered) => {
      this.asked.push(hostname)
      this.#open.set(hostname, (answer) => {
        if (answer instanceof Error) answered(answer, [])
        else
          answered(
            null,
            answer.map((address) => ({ address, family: 4 })),
          )
      })
    },
    count: (result) => this.counts.add(result),
    nowMs: this.timers.nowMs,
    after: (ms, work) => this.timers.after(ms, work),
  })

  async answer(hostname: string, ...addresses: string[]): Promise<void> {
    this.#open.get(hostname)?.(addresses)
    await settled()
  }

  async fail(hostname: string, code: string): Promise<void> {
    this.#open.get(hostname)?.(Object.assign(new Error(code), { code }))
    await settled()
  }

  /** @returns what the look-up gave, once it did: addresses or the error's code */
  lookUp(hostname: string): { readonly gave: string | null } {
    const outcome: { gave: string | null } = { gave: null }
    this.names.lookup(hostname, { all: true }, (error, addresses) => {
      outcome.gave = error === null ? addresses.map(({ address }) => address).join(' ') : (error.code ?? '')
    })
    if (outcome.gave !== null) throw new Error('it answered before it returned')
    return outcome
  }

  get results() {
    return Object.fromEntries(this.counts.all.map(({ result, count }) => [result, count()]))
  }
}

t.test("a name's answer is cached for 30 s", async (t) => {
  const rig = new Rig()
  const many = Array.from({ length: 50 }, () => rig.lookUp('api.test'))
  t.same(rig.asked, ['api.test'])
  await rig.answer('api.test', '192.0.2.1', '192.0.2.2')
  t.ok(many.every(({ gave }) => gave === '192.0.2.1 192.0.2.2'))
  await rig.timers.pass(29_000)
  const again = rig.lookUp('api.test')
  await settled()
  t.equal(again.gave, '192.0.2.1 192.0.2.2')
  t.equal(rig.asked.length, 1)
  await rig.timers.pass(2000)
  const later = rig.lookUp('api.test')
  await rig.answer('api.test', '192.0.2.9')
  t.equal(later.gave, '192.0.2.9', 'then the answer of the resolver')
  t.same(rig.results, { fresh: 52, stale: 0, failed: 0, 'timed-out': 0 })
})

t.test('a name without an answer fails after 3 s [1]', async (t) => {
  const rig = new Rig()
  const first = rig.lookUp('dead.test')
  await rig.timers.pass(2900)
  const second = rig.lookUp('dead.test')
  t.equal(first.gave, null)
  await rig.timers.pass(200)
  t.same([first.gave, second.gave], ['ETIMEOUT', 'ETIMEOUT'])
  const third = rig.lookUp('dead.test')
  await settled()
  t.equal(third.gave, 'ETIMEOUT')
  t.same(rig.asked, ['dead.test'], 'asked once, however many wait')
  const other = rig.lookUp('alive.test')
  await rig.answer('alive.test', '192.0.2.7')
  t.equal(other.gave, '192.0.2.7')
  await rig.answer('dead.test', '192.0.2.1')
  const late = rig.lookUp('dead.test')
  await settled()
  t.equal(late.gave, '192.0.2.1', 'an answer that comes late is one')
  t.same(rig.results, { fresh: 2, stale: 0, failed: 0, 'timed-out': 3 })
})

t.test('the last address is used while the resolver fails', async (t) => {
  const rig = new Rig()
  rig.lookUp('api.test')
  await rig.answer('api.test', '192.0.2.1')
  await rig.timers.pass(60_000)
  const failing = rig.lookUp('api.test')
  await rig.fail('api.test', 'EAI_AGAIN')
  t.equal(failing.gave, '192.0.2.1')
  await rig.timers.pass(1500)
  const slow = rig.lookUp('api.test')
  await rig.timers.pass(200)
  t.equal(slow.gave, null)
  await rig.timers.pass(100)
  t.equal(slow.gave, '192.0.2.1', 'after 250 ms')
  const next = rig.lookUp('api.test')
  await settled()
  t.equal(next.gave, '192.0.2.1', 'and at once while it is slow')
  await rig.timers.pass(600_000)
  const old = rig.lookUp('api.test')
  await settled()
  t.equal(old.gave, 'ETIMEOUT')
  t.same(rig.results, { fresh: 1, stale: 3, failed: 0, 'timed-out': 1 })
})

t.test('an unknown name fails at once and is retried later', async (t) => {
  const rig = new Rig()
  rig.lookUp('gone.test')
  await rig.answer('gone.test', '192.0.2.1')
  await rig.timers.pass(60_000)
  const gone = rig.lookUp('gone.test')
  await rig.fail('gone.test', 'ENOTFOUND')
  const next = rig.lookUp('gone.test')
  await settled()
  t.same([gone.gave, next.gave], ['ENOTFOUND', 'ENOTFOUND'])
  t.equal(rig.asked.length, 2)
  await rig.timers.pass(1100)
  const back = rig.lookUp('gone.test')
  await rig.answer('gone.test', '192.0.2.3')
  t.equal(back.gave, '192.0.2.3')
})

t.test('at most sixteen hanging names are looked up at once', async (t) => {
  const rig = new Rig()
  for (let i = 0; i < 16; i++) rig.lookUp(`dead-${i}.test`)
  const refused = rig.lookUp('one-more.test')
  await settled()
  t.equal(refused.gave, 'ETIMEOUT')
  t.equal(rig.asked.length, 16)
  await rig.answer('dead-3.test', '192.0.2.1')
  const taken = rig.lookUp('one-more.test')
  await rig.answer('one-more.test', '192.0.2.2')
  t.equal(taken.gave, '192.0.2.2')
})

t.test("an answer reaches each call in that call's own context", async (t) => {
  const rig = new Rig()
  const call = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  for (const name of ['a', 'b'])
    call.run(name, () => rig.names.lookup('api.test', { all: true }, () => seen.push(call.getStore())))
  await rig.answer('api.test', '192.0.2.1')
  t.same(seen, ['a', 'b'])
})

t.test('the replaced dns.lookup returns one or all addresses', async (t) => {
  const system = dns.lookup
  t.teardown(() => {
    dns.lookup = system
  })
  let asked = 0
  dns.lookup = ((
    hostname: string,
    _options: unknown,
    answered: (error: Error | null, all: LookupAddress[]) => void,
  ) => {
    if (hostname === '192.0.2.4') throw new Error('an address is not looked up')
    asked++
    answered(null, [
      { address: '169.254.169.254', family: 4 },
      { address: '192.0.2.4', family: 4 },
    ])
  }) as unknown as typeof dns.lookup
  const stood = dns.lookup
  const uninstall = installNameLookup(new LookupCounts())
  const one = await new Promise((done) => dns.lookup('api.test', (...answer) => done(answer)))
  t.same(one, [null, '169.254.169.254', 4])
  t.match(await new Promise((done) => dns.lookup('api.test', { all: true }, (_e, all) => done(all))), { length: 2 })
  t.equal(asked, 1)
  const guarded = (): Promise<unknown> =>
    new Promise((done) =>
      guardedLookup('as-written')('api.test', { all: true }, (error, addresses) => done(error ?? addresses)),
    )
  t.same(await guarded(), [{ address: '192.0.2.4', family: 4 }], "never a cloud's credentials, kept answer or not")
  t.equal(asked, 1)
  uninstall()
  t.equal(dns.lookup, stood)
})

t.test("a model's dead name does not block the tools [2]", async (t) => {
  const run = async (...args: string[]) => {
    const file = fileURLToPath(new URL('../support/dead-name.js', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [file, ...args], { timeout: 20_000 })
    return JSON.parse(stdout) as { asked: number; tool: number | string; toolMs: number; results: object }
  }
  const [bare, installed] = await Promise.all([run(), run('installed')])
  t.match(bare, { asked: 20, tool: 'TimeoutError' }, 'without it: all threads of libuv wait')
  t.match(installed, { asked: 1, tool: 200, results: { fresh: 1 } })
  t.comment(`the tool's answer took ${Math.round(installed.toolMs)} ms`)
})

/** A stopped listener, whose queue is full: nothing there answers until it goes on (SIGCONT). */
async function silentAt(t: Test, host: string, port: number): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('../support/full-listener.js', import.meta.url))
  const child = spawn(process.execPath, [file, host, String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  child.kill('SIGSTOP')
  const waiting = Array.from({ length: 8 }, () => connect({ host, port }).on('error', () => undefined))
  t.teardown(() => waiting.forEach((socket) => socket.destroy()))
  // Two fit into the queue; the others show that it is full.
  await until(() => waiting.filter(({ connecting }) => !connecting).length >= 2, 10_000, 'a full queue')
  return child
}

t.test('a service is reached although its first address is slow [3]', async (t) => {
  setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
  const port = await freePort()
  const slow = await silentAt(t, '127.0.0.2', port)
  await silentAt(t, '127.0.0.3', port)
  for (const addresses of [
    ['127.0.0.2', '127.0.0.3'],
    ['127.0.0.3', '127.0.0.2'],
  ]) {
    const resolve = ((_: string, __: object, answered: (error: null, found: LookupAddress[]) => void) =>
      answered(
        null,
        addresses.map((address) => ({ address, family: 4 })),
      )) as unknown as typeof lookup
    const socket = connect({ host: 'service.test', port, lookup: guardedLookup('private', resolve) })
    t.teardown(() => socket.destroy())
    // A lost message is sent again after a second.
    await until(() => socket.connecting, 5000, 'the attempt')
    await setImmediate()
    slow.kill('SIGCONT')
    await once(socket, 'connect')
    t.equal(socket.remoteAddress, '127.0.0.2')
  }
})

/** It looks at a number in shared memory, and nothing else. */
const CONNECTS_NOWHERE = ['stall-thread.ts']

t.test('every thread has the attempt timeout for slow addresses', (t) => {
  const folder = join(packageRoot(), 'src')
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }))
  const threads = sources
    .flatMap(({ text }) =>
      [
        ...text.matchAll(
          /(?:new Worker\(|filename: fileURLToPath\()\s*new URL\('(?:[./\w-]*\/)?(?:start-)?([\w-]+)\.js'/g,
        ),
      ].map(([, file]) => `${file ?? ''}.ts`),
    )
    .filter((thread) => !CONNECTS_NOWHERE.includes(thread))
  t.ok(threads.length >= 7, threads.join(' '))
  for (const thread of [...threads, 'caller-voices-worker.ts', 'mkondo.ts', 'process-parts.ts']) {
    const source = sources.find(({ name, text }) => name.endsWith(`/${thread}`) && !text.includes('createRoot'))
    t.match(source?.text, /setDefaultAutoSelectFamilyAttemptTimeout\(CONNECT_ATTEMPT_MS\)/, thread)
  }
  t.end()
})
