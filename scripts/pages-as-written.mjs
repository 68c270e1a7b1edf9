// Runs the commands of the pages that a new user follows, unchanged and in the order of the page: first the blocks of
// sh, then the commands in sentences.
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run, stays, stop } from './processes.mjs'

/** Commands that run until they are stopped, each with its output when it is ready. */
const STAYS = [
  [/^npm start$|(^| )npx mkondo serve$/, /"msg":"taking calls"/],
  [/^npx mkondo double \w/, /^export \w+=/m],
  [/^npx mkondo simulator /, /http:\/\/\S+:4010/],
  [/^node dist\/examples\/\S+\/main\.js\b/, / API on http/],
  [/^npm run phone$/, /Ctrl-C stops all of it/],
]

/**
 * Programs that a machine may lack, each with the command that needs it, the command's message, and the reason to
 * report.
 */
const LACKS = [[/^npm run phone$/, /Asterisk[^]*To get one: /, 'needs an Asterisk']]

/**
 * Commands that place calls, which take long. A call of an earlier page, with equal variables and to an equal gateway,
 * is not placed again. A demonstration has its own gateway.
 */
const CALLS = /^(npm run demo|npx mkondo (call|demo))\b/
const DEMO = /^(npm run|npx mkondo) demo\b/

/**
 * Maximum time for the programs of an ended command to end, in milliseconds. npm forwards Ctrl-C a second time, which
 * ends a command at once.
 */
const LEFT_MS_MAX = 20_000

/** Installation that first-hour.mjs has already done, with this lock file. */
const INSTALL = 'npm ci'

const A_KEY = 'needs a key'
const AN_ACCOUNT = 'needs a number of the carrier'
/** Blocks that cannot run here, by their first line or by the command, with the reason. */
const NOT_RUN = {
  'README.md': {
    'export AUTO_BACKEND=openai OPENAI_API_KEY=sk-…': A_KEY,
    'npm run phone -- --lan': 'opens ports to the network: test/cli/phone.more.test.ts runs it',
    'npx mkondo numbers claim NUMBER': AN_ACCOUNT,
    'npx mkondo numbers route NUMBER --agent order-status': AN_ACCOUNT,
    'npx mkondo doctor': AN_ACCOUNT,
    'npm run bench -- --quick': 'measures for three minutes: test/bench/measures.slow.test.ts runs it',
  },
  'docs/QUICKSTART.md': {
    'export AUTO_BACKEND=openai': A_KEY,
    'export AUTO_BACKEND=openai-live': A_KEY,
    'export AUTO_BACKEND=gemini': A_KEY,
    'export AUTO_BACKEND=azure-voice-live': A_KEY,
    'export AUTO_BACKEND=self-hosted': 'needs a realtime server',
    'export AUTO_BACKEND=cascade': 'needs three services',
    'export PUBLIC_URL=https://gw.example.com HOST=0.0.0.0': AN_ACCOUNT,
    'export TOKEN_SECRET=… OPS_TOKEN=… SAUTIKIT_WEBHOOK_SECRETS=… SAUTIKIT_API_KEY=…': AN_ACCOUNT,
    'npx mkondo numbers list --available': AN_ACCOUNT,
    'npx mkondo numbers route +254700000000 --agent order-status': AN_ACCOUNT,
    'npx mkondo serve --env-file .env': 'needs a file with the variables of one of the blocks',
  },
  'examples/vendors/README.md': {
    'npm run build && node dist/test/examples/vendors.slow.test.js': 'takes a minute and a half: the slow lane runs it',
  },
}

/** Runs every command of the pages. @param clone folder of a built clone, without the files that the pages create */
export async function runPages(clone) {
  const examples = readdirSync(join(clone, 'examples')).map((name) => `examples/${name}/README.md`)
  /** Commands of all pages so far that have run, or cannot run. */
  const done = new Set([INSTALL])
  for (const page of ['README.md', 'docs/QUICKSTART.md', ...examples.sort()]) {
    console.log(`${page}:`)
    await runPage(clone, page, done)
  }
}

async function runPage(clone, page, done) {
  const text = readFileSync(join(clone, page), 'utf8')
  const notRun = new Map(Object.entries(NOT_RUN[page] ?? {}))
  const terminal = new Terminal(clone)
  // A heading starts a new terminal with an empty environment, in the reader's current folder.
  for (const [, heading, block = ''] of text.matchAll(/^(#+ [^\n]*)$|^```sh\n(.*?)^```$/gms)) {
    if (heading !== undefined) {
      await terminal.begin()
      continue
    }
    const lines = block.split('\n').map((line) => line.replace(/ +#.*$/, ''))
    const isNotRun = skipped(notRun, lines[0])
    for (const line of lines.filter((line) => line !== '')) {
      const placed = terminal.placed(line)
      const again = CALLS.test(line) && done.has(placed)
      done.add(line).add(placed)
      if (!isNotRun && line !== INSTALL && !again) await terminal.type(line)
    }
    if (!isNotRun && terminal.hasModel) await terminal.type('npx mkondo check', terminal.modelIsReady)
  }
  await terminal.begin()
  // Commands in sentences run in the clone. A folder that the blocks entered has its own package.json.
  terminal.goHome()
  const prose = text.replace(/^```.*?^```$/gms, '')
  for (const [, command] of prose.matchAll(/`((?:npx )?mkondo [a-z][^`]*|npm (?:run|start|test)[^`]*)`/g)) {
    const line = command.replace(/^mkondo/, 'npx mkondo')
    // A sentence may name a command without its arguments.
    if ([...done].some((known) => `${known} `.startsWith(`${line} `))) continue
    if (skipped(notRun, line)) {
      done.add(line)
      continue
    }
    const placed = terminal.placed(line)
    if (CALLS.test(line) && done.has(placed)) continue
    done.add(line).add(placed)
    await terminal.type(line)
  }
  await terminal.begin()
  terminal.clear()
  const stale = [...notRun.keys()]
  if (stale.length > 0) throw new Error(`pages-as-written.mjs: ${page} has no ${stale.join(', ')}`)
}

function skipped(notRun, line) {
  const why = notRun.get(line)
  if (why === undefined) return false
  notRun.delete(line)
  sayNotRun(line, why)
  return true
}

function sayNotRun(line, why) {
  console.log(`${' '.repeat(19)}not run: ${line} (${why})`)
}

/** Runs the commands of one page as a reader does, in as many terminals as the commands need. */
class Terminal {
  #cwd
  #env = {}
  #staying = []
  #made = []
  #root
  /** Folder for the temporary files of running commands. */
  #temporary

  constructor(root) {
    this.#root = this.#cwd = root
    this.#temporary = join(root, '..', 'tmp')
    mkdirSync(this.#temporary, { recursive: true })
  }

  get #shell() {
    return { TMPDIR: this.#temporary, ...this.#env }
  }

  /** @returns a text that identifies a call by its command, its variables and the running programs */
  placed(line) {
    const others = DEMO.test(line) ? [] : this.#staying.map((one) => one.line)
    // The two names of the demonstration are one command.
    const command = line.replace(/^npm run demo( --)?/, 'npx mkondo demo')
    return [command, JSON.stringify(this.#env), ...others].join(' | ')
  }

  get hasModel() {
    return 'AUTO_BACKEND' in this.#env
  }

  /** Expected output of `mkondo check`. The embedded backend is always ready, because it needs no service. */
  get modelIsReady() {
    return this.#env.AUTO_BACKEND === 'embedded' ? /on embedded/ : /backend .* is ready/
  }

  async type(line, expected) {
    const [, folder] = /^cd (\S+)$/.exec(line) ?? []
    if (folder !== undefined) {
      this.#cwd = join(this.#cwd, folder)
      return
    }
    if (line.startsWith('export ')) {
      for (const [, name, value] of line.matchAll(/(\w+)=(\S+)/g)) this.#env[name] = value
      return
    }
    const [, made] = /^npx mkondo init (\S+)/.exec(line) ?? []
    if (made !== undefined) this.#made.push(join(this.#cwd, made))
    const command = line.replace(/ &$/, '')
    const ready = STAYS.find(([pattern]) => pattern.test(command))?.[1]
    if (ready === undefined) await run(this.#cwd, command, { env: this.#shell, expected })
    else await this.#leave(command, ready)
  }

  async #leave(command, ready) {
    try {
      this.#staying.push(await stays(this.#cwd, command, ready, this.#shell))
    } catch (thrown) {
      const [, , what] = LACKS.find(([of, said]) => of.test(command) && said.test(thrown.message)) ?? []
      if (what === undefined) throw thrown
      sayNotRun(command, what)
    }
  }

  /** Ends the running commands, as Ctrl-C does, and clears the variables. */
  async begin() {
    const ended = this.#staying.splice(0).reverse()
    for (const one of ended) await stop(one, 'SIGINT')
    // The doubles share a folder, which is not removed. If a command was killed, guards end its programs within
    // seconds.
    const leftovers = () =>
      readdirSync(this.#temporary).filter((name) => name.startsWith('mkondo-') && !name.startsWith('mkondo-doubles-'))
    const untilMs = performance.now() + LEFT_MS_MAX
    while (leftovers().length > 0 && performance.now() < untilMs) await sleep(200)
    const left = leftovers()
    if (left.length > 0) throw new Error(`${ended.map(({ line }) => line).join(', ')} left ${left.join(', ')}`)
    this.#env = {}
  }

  goHome() {
    this.#cwd = this.#root
  }

  /** Removes the agents that the page's commands created. */
  clear() {
    for (const folder of this.#made) rmSync(folder, { recursive: true })
    this.goHome()
  }
}
