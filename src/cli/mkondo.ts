import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { hideEnvironment } from '../config/hidden-environment.js'
import { run } from './program.js'
import { PROCESS_TERMINAL } from './terminal.js'

// Name look-ups and file work share these threads. A look-up without an answer occupies a thread for 10 to 30 s
// (src/http/name-lookup.ts). Node 20 has already created its threads at this point. So with Node 20, this value applies
// only to the processes of `serve --processes`. For a single process, set the variable in the environment, as deploy/
// does.
process.env['UV_THREADPOOL_SIZE'] ??= '64'

// The environment is hidden, because a command may start other programs, for example MCP servers for a check.
hideEnvironment()

setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)

// `mkondo check | head -1` closes the output early. The command still ends normally, with its own exit code.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

process.exitCode = await run(process.argv.slice(2), PROCESS_TERMINAL)
