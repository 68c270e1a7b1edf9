import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { terminalText } from '../../src/core/terminal-text.js'
import { Conversations, conversation } from '../../src/cli/conversation.js'
import { Progress } from '../../src/cli/progress.js'
import { topScreen, type Look } from '../../src/cli/top.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { command } from '../support/command.js'
import { MAIN, mkondo } from './mkondo-process.js'

/** Names of the commands that help lists. */
async function commandNames(...path: readonly string[]): Promise<readonly string[]> {
  const { out } = await command(['help', ...path])
  return [...out.matchAll(/^ {2}([a-z][a-z-]*)(?: \[options\])?(?: [<[][a-z.]+[>\]])? {2,}\S/gm)].map(
    ([, name = '']) => name,
  )
}

t.test('`help COMMAND` and `COMMAND --help` print the same help', async (t) => {
  const names = await commandNames()
  t.ok(names.length >= 18, names.join(' '))
  const groups = ['calls', 'numbers', 'messages', 'campaign', 'do-not-call', 'knowledge']
  // A group that does something by itself too.
  const paths = [...names.map((name) => [name]), ['cost', 'reconcile']]
  for (const group of groups) paths.push(...(await commandNames(group)).map((name) => [group, name]))
  t.ok(paths.some((path) => path.join(' ') === 'calls timeline'))
  for (const path of paths) {
    const byHelp = await command(['help', ...path])
    t.match(byHelp, { code: 0, err: '', out: new RegExp(`^Usage: mkondo ${path.join(' ')}\\b`) }, path.join(' '))
    t.same(await command([...path, '--help']), byHelp)
    if (!['help', 'version', ...groups].includes(path.join(' '))) t.match(byHelp.out, /Exit codes:\n {2}0 {2}/)
  }
  t.match((await command(['help', 'settings'])).out, /^ {2}PUBLIC_URL [^]*^Of Soniox:\n\n {2}SONIOX_API_KEY /m)
  t.match((await command(['help', 'settings', 'soniox'])).out, /:\n\nOf Soniox:\n\n {2}SONIOX_API_KEY /)
  t.match((await command(['help', 'vendors'])).out, /^Recognisers [^]*^ {2}soniox [^]*needs SONIOX_API_KEY/m)
  for (const width of [null, 100])
    for (const path of [[], ['settings'], ['vendors'], ...paths]) {
      const { out } = await command(['help', ...path], { columns: () => width })
      // One word may be longer, and an example is a whole line.
      const wide = out.split('\n').filter((line) => line.length > (width ?? 80) && / /.test(line.trim()))
      t.same(wide, [], `${path.join(' ')} in ${width ?? 'no terminal'}`)
    }
  t.match((await command(['help', 'doctor'])).out, /^Stop the gateway first: .{50,}\n\S/m, 'paragraphs are filled')
  const { out: version } = await command(['--version'])
  t.match(version, /^\d+\.\d+\.\d+\n$/)
  for (const one of ['-v', 'version']) t.equal((await command([one])).out, version)
})

t.test('a mistyped command is one line with a suggestion', async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['serv', /^mkondo: unknown command 'serv'; did you mean serve\? \(see mkondo --help\)$/],
    ['calls lis', /^mkondo calls: unknown command 'lis'; did you mean list\?/],
    ['calls', /^mkondo calls: needs a command; allowed: list, find, show, timeline, hangup, escalate/],
    ['calls show', /^mkondo calls show: missing required argument 'sid' \(see mkondo calls show --help\)$/],
    ['check --tolls', /^mkondo check: unknown option '--tolls'; did you mean --tools\?/],
    ['call --rate 44100', /^mkondo call: --rate is "44100"; allowed: one of 8000, 16000/],
    ['simulate x --jobs 0', /^mkondo simulate: --jobs is "0"; allowed: a whole number from 1 to 64/],
    ['call-out --agent x', /^mkondo call-out: required option '--to <number>' not specified/],
    ['drain a b', /^mkondo drain: too many arguments/],
    ['--processes 300', /^mkondo: --processes is '300'; allowed: a whole number from 1 to 64$/],
    ['help serv', /^mkondo help: there is no command 'serv'; did you mean serve\? \(see mkondo help --help\)$/],
    ['help calls timelin', /^mkondo help: there is no command 'calls timelin'; did you mean timeline\?/],
    ['help xyz', /^mkondo help: there is no command 'xyz'; allowed: settings, vendors, demo,/],
    ['completion tcsh', /^mkondo completion: the shell is "tcsh"; allowed: one of bash, zsh, fish/],
  ]
  for (const [line, expected] of cases) {
    const { code, out, err } = await command(line.split(' '))
    t.equal(code, 2, line)
    t.equal(out, '', line)
    t.match(err.trimEnd(), expected, line)
    t.equal(err.split('\n').length, 2, 'one line')
  }
})

t.test('a command whose output is closed exits normally', async (t) => {
  const { child, lines, exit } = mkondo(['help', 'settings'])
  child.stdout?.destroy() // as `| head -1` does
  t.equal(await exit, 0)
  t.same(lines, [])
})

t.test('shells complete commands, options and values', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-completion-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'call.jsonl'), '')
  symlinkSync(MAIN, join(folder, 'mkondo'))
  const env = { ...process.env, PATH: `${folder}:${process.env['PATH']}` }
  /** Prints what the shell proposes for the last of its arguments. */
  const shells: Readonly<Record<string, (file: string) => string>> = {
    // Outside of its line editor bash does not propose files itself, as it does here where a function has nothing.
    bash: (file) =>
      `source ${file}; complete -p mkondo | grep -q -- '-o default' || exit 1
       COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=\${#COMP_LINE}
       _mkondo_completion; [[ -z $COMPREPLY ]] && COMPREPLY=($(compgen -f)); printf '%s\\n' "\${COMPREPLY[@]}"`,
    // Outside of its line editor zsh has no completion: what a completion would be given is printed.
    zsh: (file) =>
      `compdef() {}; _describe() { print -rl -- \${(P)2%%:*} }; _files() { print -l * }
       source ${file}; words=("$@"); CURRENT=$#; _mkondo_completion`,
    fish: (file) => `source ${file}; complete -C (string join ' ' -- (string escape -- $argv[1..-2]) $argv[-1])`,
  }
  for (const [shell, print] of Object.entries(shells)) {
    if (!hasProgram(t, shell, shell)) continue
    const file = join(folder, shell)
    const first = shell === 'fish' ? [] : [shell] // $0
    writeFileSync(file, (await command(['completion', shell])).out)
    const has = async (words: readonly string[], expected: readonly string[], not: readonly string[]) => {
      const { stdout } = await promisify(execFile)(shell, ['-c', print(file), ...first, 'mkondo', ...words], {
        cwd: folder,
        env,
      })
      const found = stdout.split('\n').map((word) => word.split('\t')[0] ?? '')
      for (const word of expected) t.ok(found.includes(word), `${shell}: ${words.join(' ')} has ${word}`)
      for (const word of not) t.notOk(found.includes(word), `${shell}: ${words.join(' ')} has no ${word}`)
    }
    await has([''], ['serve', 'calls', 'top'], ['list', 'completion-server', 'call.jsonl'])
    await has(['calls', 'list', '--'], ['--limit', '--json'], ['--goodbye'])
    await has(['replay', ''], ['call.jsonl'], ['serve'])
    await has(['call', '--say', '$(touch ran); touch ran', '--voice', ''], ['rms', 'awb', 'kal'], ['--agent'])
    t.notOk(existsSync(join(folder, 'ran')), `${shell} runs nothing of the line`)
    if (shell !== 'bash') continue // what is proposed does not depend on the shell
    await has(['calls', ''], ['list', 'timeline'], ['serve'])
    await has(['calls', 'find', '--'], ['--text', '--agent-version', '--min-cost'], ['--goodbye'])
    await has(['completion', ''], ['bash', 'zsh', 'fish'], ['serve'])
    await has(['help', ''], ['settings', 'serve'], ['list'])
  }
})

t.test('concurrent calls are shown one after another', async (t) => {
  let shown = ''
  const print = (text: string) => (shown += text)
  const calls = new Conversations(['First', 'Second'], print, { colours: false, columns: () => 44 })
  calls.write(0, 'agent    Hello.\n')
  calls.write(1, 'agent    Hello, this is the order line and it ')
  calls.write(1, 'talks for long.\ncaller   4127\n')
  t.equal(shown, '\nFirst\n\nagent    Hello.\n')
  calls.end(1)
  t.notMatch(shown, /Second/)
  calls.end(0)
  t.equal(
    shown,
    '\nFirst\n\nagent    Hello.\n\nSecond\n\nagent    Hello, this is the order line and\n         it talks for long.\ncaller   4127\n',
  )
  let coloured = ''
  conversation((text) => (coloured += text), { colours: true, columns: () => null })('caller   4127\n')
  t.equal(terminalText(coloured), '\u001b[33mcaller   \u001b[39m4127\n')
})

t.test('progress is shown only on a terminal', async (t) => {
  let line = ''
  const err = (text: string) => (line += text)
  const seen = new Progress({ err, showsProgress: true }, 'replay')
  seen.show('1 of 3 calls')
  t.equal(terminalText(line), '\r\u001b[Kreplay: 1 of 3 calls, 0 s')
  seen.end()
  line = ''
  const unseen = new Progress({ err, showsProgress: false }, 'replay')
  unseen.show('1 of 3 calls')
  unseen.print(err, 'a result\n')
  unseen.end()
  t.equal(line, 'a result\n')
})

t.test('top shows the longest calls that fit the terminal', async (t) => {
  const live = [3000, 9000, 1000].map((durationMs, index) => ({
    ...{ callSid: `HD_${index}`, node: 'gw-0', agent: 'a', backend: 'openai', state: 'live', direction: 'inbound' },
    ...{ from: '+2547…01', to: '+2547…00', startedAt: '2026-11-20T10:00:00Z', durationMs },
  }))
  const node = { name: 'gw-0', state: 'open', live: 3, free: 7, capacity: 10 }
  const look = { fleet: { nodes: [node], alerts: [] }, live, silent: ['gw-1'] } as unknown as Look
  const screen = topScreen(look, { rows: 9, colours: false })
  t.match(screen, /^3 live calls, 7 of 10 free\nnodes: gw-0 open 3\/10\nnode gw-1 does not answer\n/)
  t.match(screen, /HD_1 [^\n]* 9\nHD_0 [^\n]* 3\nand 1 more\n$/)
  t.ok(screen.trimEnd().split('\n').length < 9)
})
