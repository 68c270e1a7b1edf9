import type { Backend, BackendSink } from '../../src/backends/backend.js'
import { ScriptedBackend } from './scripted-backend.js'

/** The one that takes over where the scripted backend dies. */
export function createBackend(sink: BackendSink): Backend {
  return new ScriptedBackend(sink, 'relief')
}
