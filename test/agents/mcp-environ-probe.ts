import { appendFileSync, readFileSync } from 'node:fs'

/** A local MCP server that writes the environments that it finds to the file that is its argument: its own, and of its ancestors up to `$STOP_AT`. */
const [, , file = ''] = process.argv
const found: string[] = [JSON.stringify(process.env)]
for (let pid = process.pid; pid > 1 && String(pid) !== process.env['STOP_AT'];) {
  found.push(readFileSync(`/proc/${pid}/environ`, 'latin1'))
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}
appendFileSync(file, `${found.join('\n')}\nEND\n`)
