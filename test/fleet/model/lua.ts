/**
 * The Lua of our scripts as JavaScript: what Redis runs is what the model runs. It knows the part of Lua 5.1 that they use
 * (no tables with names, no patterns beyond `%d`, `%S` and anchors), and refuses anything else by name.
 * Strings hold bytes, one a character.
 */

export type LuaValue = string | number | boolean | undefined | LuaTable | LuaError
/** A list, from 0 here and from 1 in Lua. */
interface LuaTable {
  readonly list: LuaValue[]
}
interface LuaError {
  readonly err: string
}
/** Several results of one call. */
class Several {
  readonly values: readonly LuaValue[]
  constructor(values: readonly LuaValue[]) {
    this.values = values
  }
}

export type LuaScript = (
  call: (args: readonly string[]) => LuaValue,
  keys: readonly string[],
  args: readonly string[],
) => LuaValue

const TOKEN =
  /\s+|--[^\n]*|(?<name>[A-Za-z_]\w*)|(?<number>\d+(?:\.\d+)?)|'(?<single>(?:[^'\\]|\\.)*)'|"(?<double>(?:[^"\\]|\\.)*)"|(?<sign>\.\.|==|~=|<=|>=|[-+*/%#<>=(){}[\],.;])/gy
const KEYWORDS = new Set(
  'and break do else elseif end false for function if in local nil not or repeat return then true until while'.split(
    ' ',
  ),
)
/** From the weakest. */
const OPERATORS: readonly (readonly string[])[] = [
  ['or'],
  ['and'],
  ['<', '>', '<=', '>=', '~=', '=='],
  ['..'],
  ['+', '-'],
  ['*', '/', '%'],
]

interface Token {
  readonly is: 'name' | 'word' | 'number' | 'text' | 'end'
  readonly text: string
}

function tokensOf(lua: string): Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < lua.length) {
    const at = TOKEN.lastIndex
    const found = TOKEN.exec(lua)
    if (found === null) throw new Error(`the model does not read this Lua: ${lua.slice(at, at + 40)}`)
    const { name, number, single, double, sign } = found.groups ?? {}
    if (name !== undefined) tokens.push({ is: KEYWORDS.has(name) ? 'word' : 'name', text: name })
    else if (number !== undefined) tokens.push({ is: 'number', text: number })
    else if (sign !== undefined) tokens.push({ is: 'word', text: sign })
    else if (single !== undefined || double !== undefined) tokens.push({ is: 'text', text: single ?? double ?? '' })
  }
  return [...tokens, { is: 'end', text: '' }]
}

/** Writes the JavaScript of one script. */
class Compiler {
  readonly #tokens: readonly Token[]
  #at = 0

  constructor(lua: string) {
    this.#tokens = tokensOf(lua)
  }

  script(): string {
    const body = this.#block()
    if (this.#next.is !== 'end') throw this.#unknown()
    return body
  }

  get #next(): Token {
    return this.#tokens[this.#at] as Token
  }

  #unknown(): Error {
    return new Error(`the model does not know this Lua: ${this.#next.text}`)
  }

  #is(text: string): boolean {
    return this.#next.is === 'word' && this.#next.text === text
  }

  #take(text: string): boolean {
    if (!this.#is(text)) return false
    this.#at++
    return true
  }

  #expect(text: string): void {
    if (!this.#take(text)) throw this.#unknown()
  }

  #name(): string {
    const { is, text } = this.#next
    if (is !== 'name') throw this.#unknown()
    this.#at++
    return `$${text}`
  }

  #block(): string {
    let body = ''
    while (this.#next.is !== 'end' && !['end', 'else', 'elseif'].some((word) => this.#is(word)))
      body += this.#statement()
    return body
  }

  #statement(): string {
    if (this.#take(';')) return ''
    if (this.#take('local')) return this.#local()
    if (this.#take('if')) return this.#if()
    if (this.#take('for')) return this.#for()
    if (this.#take('while')) {
      const condition = this.#expression()
      this.#expect('do')
      const body = this.#block()
      this.#expect('end')
      return `while (truth(${condition})) {${body}}\n`
    }
    if (this.#take('return')) {
      const over = this.#next.is === 'end' || ['end', 'else', 'elseif'].some((word) => this.#is(word))
      return over ? 'return undefined\n' : `return one(${this.#expression()})\n`
    }
    const target = this.#suffixed()
    if (!this.#take('=')) return `${target.read}\n`
    const value = this.#single()
    return target.write === null ? `${target.read} = ${value}\n` : `${target.write(value)}\n`
  }

  #local(): string {
    if (this.#take('function')) {
      const name = this.#name()
      this.#expect('(')
      const parameters: string[] = []
      while (!this.#take(')')) {
        parameters.push(this.#name())
        this.#take(',')
      }
      const body = this.#block()
      this.#expect('end')
      return `const ${name} = (${parameters.join(', ')}) => {${body}}\n`
    }
    const names = [this.#name()]
    while (this.#take(',')) names.push(this.#name())
    if (!this.#take('=')) return `let ${names.join(', ')};\n`
    return `let [${names.join(', ')}] = ${this.#list()};\n`
  }

  #if(): string {
    let code = `if (truth(${this.#expression()})) {`
    this.#expect('then')
    code += `${this.#block()}}`
    for (;;) {
      if (this.#take('elseif')) {
        code += ` else if (truth(${this.#expression()})) {`
        this.#expect('then')
        code += `${this.#block()}}`
      } else if (this.#take('else')) code += ` else {${this.#block()}}`
      else break
    }
    this.#expect('end')
    return `${code}\n`
  }

  #for(): string {
    const first = this.#name()
    let head: string
    if (this.#take('=')) {
      const from = this.#single()
      this.#expect(',')
      const to = this.#single()
      const step = this.#take(',') ? this.#single() : '1'
      head = `for (let ${first} = num(${from}), to = num(${to}), step = num(${step}); step > 0 ? ${first} <= to : ${first} >= to; ${first} += step)`
    } else {
      this.#expect(',')
      const second = this.#name()
      this.#expect('in')
      head = `for (const [${first}, ${second}] of ${this.#single()})`
    }
    this.#expect('do')
    const body = this.#block()
    this.#expect('end')
    return `${head} {${body}}\n`
  }

  /** Several expressions as one JavaScript array; the last may bring several values. */
  #list(): string {
    const all = [this.#expression()]
    while (this.#take(',')) all.push(this.#expression())
    const last = all.pop() ?? ''
    return `[${[...all.map((each) => `one(${each})`), `...all(${last})`].join(', ')}]`
  }

  #single(): string {
    return `one(${this.#expression()})`
  }

  #expression(level = 0): string {
    const operators = OPERATORS[level]
    if (operators === undefined) return this.#unary()
    let left = this.#expression(level + 1)
    for (;;) {
      const operator = operators.find((each) => this.#is(each))
      if (operator === undefined) return left
      this.#at++
      // `..` is the same from either side.
      const right = this.#expression(level + 1)
      left = binary(operator, left, right)
    }
  }

  #unary(): string {
    if (this.#take('not')) return `!truth(${this.#unary()})`
    if (this.#take('#')) return `size(${this.#unary()})`
    if (this.#take('-')) return `-num(${this.#unary()})`
    return this.#primary()
  }

  #primary(): string {
    const { is, text } = this.#next
    if (is === 'number') {
      this.#at++
      return text
    }
    if (is === 'text') {
      this.#at++
      return `'${text}'`
    }
    if (this.#take('nil')) return 'undefined'
    if (this.#take('true')) return 'true'
    if (this.#take('false')) return 'false'
    if (this.#take('{')) {
      if (this.#take('}')) return 'table([])'
      const list = this.#list()
      this.#expect('}')
      return `table(${list})`
    }
    return this.#suffixed().read
  }

  #suffixed(): { readonly read: string; readonly write: ((value: string) => string) | null } {
    let read: string
    let write: ((value: string) => string) | null = null
    if (this.#take('(')) {
      read = this.#single()
      this.#expect(')')
    } else read = this.#name()
    for (;;) {
      if (this.#take('.')) {
        read += `.${this.#name()}`
        write = null
      } else if (this.#take('[')) {
        const [table, key] = [read, this.#single()]
        this.#expect(']')
        read = `get(${table}, ${key})`
        write = (value) => `set(${table}, ${key}, ${value})`
      } else if (this.#take('(')) {
        const list = this.#is(')') ? '[]' : this.#list()
        this.#expect(')')
        read = `${read}(...${list})`
        write = null
      } else return { read, write }
    }
  }
}

function binary(operator: string, left: string, right: string): string {
  switch (operator) {
    case 'and':
      return `and(one(${left}), () => ${right})`
    case 'or':
      return `or(one(${left}), () => ${right})`
    case '==':
      return `(one(${left}) === one(${right}))`
    case '~=':
      return `(one(${left}) !== one(${right}))`
    case '..':
      return `(text(one(${left})) + text(one(${right})))`
    case '<':
    case '>':
    case '<=':
    case '>=':
      return `(one(${left}) ${operator} one(${right}))`
    default:
      return `(num(one(${left})) ${operator} num(one(${right})))`
  }
}

const truth = (value: unknown): boolean => value !== undefined && value !== false
const one = (value: unknown): unknown => (value instanceof Several ? value.values[0] : value)
const all = (value: unknown): readonly unknown[] => (value instanceof Several ? value.values : [value])
const num = (value: unknown): number => {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value
  if (typeof number !== 'number' || Number.isNaN(number)) throw new Error(`Lua: no number: ${String(value)}`)
  return number
}
const text = (value: unknown): string => {
  if (typeof value !== 'string' && typeof value !== 'number') throw new Error(`Lua: no text: ${String(value)}`)
  return String(value)
}
const isTable = (value: unknown): value is LuaTable => typeof value === 'object' && value !== null && 'list' in value

/** A Lua pattern as a regular expression. */
const patterns = new Map<string, RegExp>()
function patternOf(pattern: string): RegExp {
  let known = patterns.get(pattern)
  if (known === undefined) patterns.set(pattern, (known = new RegExp(pattern.replaceAll('%', '\\'))))
  return known
}

/** Functions that the scripts call, by the names that the compiler writes. */
const LIBRARY = {
  truth,
  one,
  all,
  num,
  text,
  table: (list: LuaValue[]) => ({ list }),
  size: (value: unknown) => (isTable(value) ? value.list.length : text(value).length),
  get: (table: unknown, key: unknown) => (isTable(table) ? table.list[num(key) - 1] : undefined),
  set: (table: LuaTable, key: number, value: LuaValue) => {
    if (key > table.list.length + 1) throw new Error('Lua: the model has no tables with gaps')
    table.list[key - 1] = value
  },
  and: (left: unknown, right: () => unknown) => (truth(left) ? one(right()) : left),
  or: (left: unknown, right: () => unknown) => (truth(left) ? left : one(right())),
  $ipairs: ({ list }: LuaTable) => list.map((value, i) => [i + 1, value]),
  $unpack: ({ list }: LuaTable) => new Several(list),
  $tonumber: (value: unknown) =>
    typeof value === 'number' ? value : typeof value === 'string' && value !== '' ? Number(value) : undefined,
  $tostring: (value: unknown) => String(value),
  $math: { $floor: (value: unknown) => Math.floor(num(value)), $max: Math.max, $min: Math.min },
  $table: { $insert: ({ list }: LuaTable, value: LuaValue) => void list.push(value) },
  $string: {
    $match: (subject: string, pattern: string) => {
      const found = patternOf(pattern).exec(subject)
      return found === null ? undefined : new Several(found.length > 1 ? found.slice(1) : [found[0]])
    },
    $format: (format: string, value: unknown) => {
      if (format === '%.0f') return num(value).toFixed(0)
      if (format === '%.17g') return String(num(value))
      throw new Error(`Lua: the model has no format ${format}`)
    },
    $sub: (subject: string, from: number, to = subject.length) => subject.slice(from - 1, to),
  },
}

/** @throws Error for Lua that the model does not know */
export function compiled(lua: string): LuaScript {
  const names = Object.keys(LIBRARY)
  // The source is a script of this repository.
  // eslint-disable-next-line @typescript-eslint/no-implied-eval
  const made = new Function(...names, '$redis', '$KEYS', '$ARGV', new Compiler(lua).script()) as (
    ...args: unknown[]
  ) => LuaValue
  return (call, keys, args) => {
    const run = (...given: unknown[]): LuaValue => call(given.map((each) => text(each)))
    const redis = {
      $call: (...given: unknown[]) => {
        const reply = run(...given)
        if (typeof reply === 'object' && 'err' in reply) throw new ScriptError(reply.err)
        return reply
      },
      $pcall: run,
      $error_reply: (err: string) => ({ err }),
      $status_reply: (ok: string) => ok,
    }
    return made(...Object.values(LIBRARY), redis, { list: [...keys] }, { list: [...args] })
  }
}

/** A command that a script ran failed, and the script with it. */
export class ScriptError extends Error {}
