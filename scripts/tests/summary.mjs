// A reporter for tap. Prints a line for each file, and each failed or skipped test. The last line is
// `N passed, N failed, N skipped`, which `.ci/run` adds up.
import { Transform } from 'node:stream'

const COUNTS = /^# \{ total: .*\}$/
const POINT = /^(not )?ok \d+ - (.*?)(?: # time=([\d.]+)(ms|s))?(?: \{)?$/
const TEST_FILE = /^test\/.*\.test\.[jt]s(?= |$)/

export default class Summary extends Transform {
  #rest = ''
  /** Running subtests, outermost first, each with the number of failures before it. */
  #open = []
  /** State of a failure's diagnosis: `next` if it may begin with the next line, `begun` until its last line `...`. */
  #diagnosis = 'none'
  #passed = 0
  #failed = 0
  #skipped = 0

  _transform(chunk, _encoding, done) {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop()
    lines.forEach((line) => this.#read(line))
    done()
  }

  _flush(done) {
    this.#read(this.#rest)
    if (this.#failed > 0 || this.#passed === 0) process.exitCode = 1
    this.push(`${this.#passed} passed, ${this.#failed} failed, ${this.#skipped} skipped\n`)
    done()
  }

  #read(line) {
    const text = line.trimStart()
    const depth = (line.length - text.length) / 4
    if (this.#diagnosis === 'begun' || (this.#diagnosis === 'next' && text === '---')) {
      this.push(`${line}\n`)
      this.#diagnosis = text === '...' ? 'none' : 'begun'
      return
    }
    this.#diagnosis = 'none'
    // The test's own output may have any form.
    if (!Number.isInteger(depth) || depth > this.#open.length) return
    const point = POINT.exec(text)
    if (point !== null) this.#tell(depth, ...point.slice(1))
    else if (text.startsWith('# Subtest: ')) {
      this.#open.length = depth
      this.#open.push({ name: text.slice('# Subtest: '.length), failed: this.#failed })
    } else if (text.startsWith('1..0') && depth > 0) this.#open[depth - 1].isEmpty = true
    else if (depth === 0 && COUNTS.test(text)) {
      this.#passed = Number(/ pass: (\d+)/.exec(text)?.[1] ?? 0)
      this.#skipped = Number(/ skip: (\d+)/.exec(text)?.[1] ?? 0)
    }
  }

  #tell(depth, not, name, time, unit) {
    const path = [...this.#open.slice(0, depth).map(({ name }) => name), name].join(' > ')
    const isFile = TEST_FILE.test(name)
    const { failed = this.#failed, isEmpty = false } = this.#open[depth] ?? {}
    this.#open.length = depth
    // A subtest or a process may fail although no assert within it has failed. A file without a test counts as failed.
    if ((isFile && isEmpty) || (not !== undefined && this.#failed === failed)) {
      this.#failed++
      this.push(`not ok: ${path}\n`)
      this.#diagnosis = 'next'
    } else if (not !== undefined && name.startsWith('test/')) {
      // Reports how a process ended. If a signal ended it, its arguments name the files that did not run.
      this.push(`not ok: ${path}\n`)
      this.#diagnosis = 'next'
    } else if (name.includes(' # SKIP')) this.push(`skipped: ${path}\n`)
    if (!isFile) return
    const seconds = Number(time ?? 0) / (unit === 's' ? 1 : 1000)
    this.push(`${this.#failed > failed ? 'NOT OK' : 'ok    '} ${seconds.toFixed(1).padStart(6)} s  ${name}\n`)
  }
}
