#!/usr/bin/env node
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { hideEnvironment } from '../config/hidden-environment.js'
import { run } from './program.js'
import { PROCESS_TERMINAL } from './terminal.js'

// Look-ups of names and work on files share these threads, and a look-up without an answer holds one for 10 to 30 s
// (src/http/name-lookup.ts). Node 20 has made its threads by now: there it holds for the processes of `serve --processes`,
// and otherwise the environment sets it, as deploy/ does.
process.env['UV_THREADPOOL_SIZE'] ??= '64'

// A command may start others: MCP servers that are tried, processes of `serve --processes`.
hideEnvironment()

setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)

// `mkondo check | head -1`: nobody reads the rest. The command still ends as it would, with its own exit code.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

process.exitCode = await run(process.argv.slice(2), PROCESS_TERMINAL)
