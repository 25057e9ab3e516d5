// libp2p 3 calls Promise.withResolvers, which Node 20 lacks. This is the library's one global side effect; it must be
// loaded before libp2p. It goes when Node 20 does.
import { createDeferred } from './deferred.ts'

interface WithResolvers {
  withResolvers?: <T>() => { promise: Promise<T>; resolve: (value: T) => void; reject: (reason: unknown) => void }
}

const target = Promise as unknown as WithResolvers
if (target.withResolvers === undefined) {
  Object.defineProperty(target, 'withResolvers', { value: createDeferred, configurable: true, writable: true })
}
