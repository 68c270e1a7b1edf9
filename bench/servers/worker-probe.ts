import { answerProbe } from './isolate-probe.js'

// The bench's agent names this module, so that every media worker imports it, with any backend.
answerProbe()
