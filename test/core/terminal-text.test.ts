import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ownSequence, terminalText } from '../../src/core/terminal-text.js'

const OBEYED = ['\u001b[2J', '\u0007', '\r', '\b', '\u009b31m', '\u007f', '\0', '\u202e', '\u2066', '\u200f', '\u061c']
const LEFT = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/

t.test('terminal control characters are shown as escapes', (t) => {
  for (const each of OBEYED) {
    const shown = terminalText(`a${each}b`)
    t.notMatch(shown, LEFT)
    t.match(shown, /\\u[0-9a-f]{4}/)
    t.same(
      JSON.parse(terminalText(JSON.stringify({ text: `a${each}b` }))),
      { text: `a${each}b` },
      'JSON means the same',
    )
  }
  t.equal(terminalText('a\n\tb\r\nc می\u200cرسد 👩\u200d🚒'), 'a\n\tb\r\nc می\u200cرسد 👩\u200d🚒')
  t.end()
})

t.test('our own escape sequences pass and cannot be forged', (t) => {
  t.equal(terminalText(`${ownSequence('\u001b[1m')}x${ownSequence('\u001b[0m')}`), '\u001b[1mx\u001b[0m')
  t.equal(terminalText(`\0${'0'.repeat(24)}1b5b326a;`), `\\u0000${'0'.repeat(24)}1b5b326a;`)
  t.end()
})

t.test('CSV, escapes and output are written in one place', (t) => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name))
  const having = (what: RegExp): string[] =>
    files
      .filter((name) =>
        readFileSync(join('src', name), 'utf8')
          .split('\n')
          .some((line) => what.test(line)),
      )
      .sort()
  t.same(having(/replaceAll\('"', '""'\)/), ['core/csv.ts'])
  t.same(having(/process\.std(?:out|err)\.write|console\.(?:log|error)\((?!terminalText\()/), ['cli/terminal.ts'])
  t.same(having(/^(?!.*ownSequence\().*\\(?:u001b|x1b)\[/), [])
  t.end()
})
