// The commands of the pages that a new user follows, each as it stands there and in the order of the page: the blocks of sh,
// and then what a sentence names.
import { readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { run, stays, stop } from './processes.mjs'

/** Commands that run until they are stopped, and what they print when they are ready. */
const STAYS = [
  [/^npm start$|(^| )npx mkondo serve$/, /"msg":"taking calls"/],
  [/^npx mkondo double \w/, /^export \w+=/m],
  [/^npx mkondo simulator /, /http:\/\/\S+:4010/],
  [/^node dist\/examples\/\S+\/main\.js\b/, / API on http/],
]

/**
 * They take as long as calls do: the ones that an earlier page has placed, with the same variables and to the same gateway, are not
 * placed again. A demonstration has a gateway of its own.
 */
const CALLS = /^(npm run demo|npx mkondo call)\b/
const DEMO = /^npm run demo\b/

/** Installation that first-hour.mjs has done, with the same lock file. */
const INSTALL = 'npm ci'

const A_KEY = 'needs a key'
const AN_ACCOUNT = 'needs a number of the carrier'
/** Blocks that cannot run here, by their first line or by the command, with the reason. */
const NOT_RUN = {
  'README.md': {
    'export AUTO_BACKEND=openai OPENAI_API_KEY=sk-…': A_KEY,
    'npx mkondo help COMMAND': 'COMMAND stands for a name: test/cli/command-line.test.ts has all of them',
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
    'npx mkondo doctor --agent order-status --write .env': AN_ACCOUNT,
    'npx mkondo numbers route +254700000000 --agent order-status': AN_ACCOUNT,
    'npx mkondo serve --env-file .env': 'needs a file with the variables of one of the blocks',
  },
}

/** Runs every command of the pages. @param clone  built, and without what the pages make */
export async function runPages(clone) {
  const examples = readdirSync(join(clone, 'examples')).map((name) => `examples/${name}/README.md`)
  /** Commands that have run, or cannot, on any page. */
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
  // A heading begins anew, with an empty environment, in the folder that the reader is in.
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
  const prose = text.replace(/^```.*?^```$/gms, '')
  for (const [, command] of prose.matchAll(/`((?:npx )?mkondo [a-z][^`]*|npm (?:run|start|test)[^`]*)`/g)) {
    const line = command.replace(/^mkondo/, 'npx mkondo')
    // A sentence may name a command without what follows it.
    if ([...done].some((known) => `${known} `.startsWith(`${line} `)) || skipped(notRun, line)) continue
    done.add(line).add(terminal.placed(line))
    await terminal.type(line)
  }
  terminal.clear()
  const stale = [...notRun.keys()]
  if (stale.length > 0) throw new Error(`pages-as-written.mjs: ${page} has no ${stale.join(', ')}`)
}

function skipped(notRun, line) {
  const why = notRun.get(line)
  if (why === undefined) return false
  notRun.delete(line)
  console.log(`${' '.repeat(19)}not run: ${line} (${why})`)
  return true
}

/** Commands of a reader of one page, in as many terminals as its commands need. */
class Terminal {
  #cwd
  #env = {}
  #staying = []
  #made = []
  #root

  constructor(root) {
    this.#root = this.#cwd = root
  }

  /** A call, with its variables and what it is placed to. */
  placed(line) {
    const others = DEMO.test(line) ? [] : this.#staying.map((one) => one.line)
    return [line, JSON.stringify(this.#env), ...others].join(' | ')
  }

  get hasModel() {
    return 'AUTO_BACKEND' in this.#env
  }

  /** Checks the output of `mkondo check`; the embedded backend needs nothing that could be away. */
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
    if (ready === undefined) await run(this.#cwd, command, { env: this.#env, expected })
    else this.#staying.push(await stays(this.#cwd, command, ready, this.#env))
  }

  /** Ends what runs, as Ctrl-C does, and forgets the variables. */
  async begin() {
    for (const one of this.#staying.splice(0).reverse()) await stop(one, 'SIGINT')
    this.#env = {}
  }

  /** Removes what the page made. */
  clear() {
    for (const folder of this.#made) rmSync(folder, { recursive: true })
    this.#cwd = this.#root
  }
}
