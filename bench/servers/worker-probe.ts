import { answerProbe } from './isolate-probe.js'

// Named as a module of the bench agent, so that every media worker imports it, whatever its backend is.
answerProbe()
