import assert from 'node:assert/strict'
import { peerIdFromString } from '@libp2p/peer-id'
import { MemoryLevel } from 'memory-level'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { show } from '../../../src/base/options.ts'
import { type NodeOptions, resolveOptions } from '../../../src/node/options.ts'
import { createPeerKey, peerIdOfKey } from '../../../src/transport/peer-key.ts'

/** One wrong value for each option, so that none is accepted and ignored. */
const WRONG: { readonly [K in keyof NodeOptions]-?: unknown } = {
  cluster: '',
  listen: '/ip4/127.0.0.1/tcp/1',
  announce: [1],
  bootstrap: ['127.0.0.1:80'],
  mdns: 'yes',
  expect: 0,
  found: 1,
  storage: {},
  durability: 'maybe',
  cacheBytes: -1,
  replicas: 8,
  partitions: 100,
  weight: -1,
  zone: 'z'.repeat(65),
  region: 5,
  secret: 'short',
  allow: 'everybody',
  requestTimeoutMs: 0,
  joinTimeoutMs: 5,
  evictAfterMs: 10,
  warmUpMs: -1,
  maxClockDriftMs: 1,
  repairIntervalMs: 0,
  purgeIntervalMs: 999,
  gcGraceMs: 999,
  logger: { info() {} },
  signal: 'stop'
}

function problemsOf(options: object): readonly string[] {
  try {
    resolveOptions(options)
  } catch (error) {
    assert.ok(isKilovoltError(error, 'KV_CONFIG'))
    return error.details['problems'] as string[]
  }
  return []
}

describe('options', () => {
  it('all have a default', () => {
    const { signal, storage, cacheBytes, expect, secret, allow, evictAfterMs, logger, ...rest } = resolveOptions()
    for (const [name, value] of Object.entries(rest)) assert.notEqual(value, undefined, name)
    const left = [signal, storage, cacheBytes, expect, secret, allow, evictAfterMs, logger]
    assert.deepEqual(left, Array.from({ length: 8 }))
  })

  for (const [name, value] of Object.entries(WRONG)) {
    it(`"${name}" is refused with ${JSON.stringify(value)}, and named`, () => {
      const problems = problemsOf({ [name]: value })
      assert.equal(problems.length, 1)
      assert.match(problems[0]!, new RegExp(`^"${name}"`, 'u'))
    })
  }

  it('reports all that is wrong at once', () => {
    assert.equal(problemsOf(WRONG).length, Object.keys(WRONG).length)
  })

  it('names what is wrong whatever it is: big integers, circles, what has no text', () => {
    const circle: { self?: object } = {}
    circle.self = circle
    for (const wrong of [3n, circle, Symbol('three'), Object.create(null), { toJSON: () => assert.fail() }]) {
      assert.match(problemsOf({ replicas: wrong })[0]!, /^"replicas" must be a whole number from 1 to 7, not ./u)
    }
    assert.equal(problemsOf({ storage: circle, logger: circle, listen: [circle] }).length, 3)
  })

  it('takes nothing that objects have by birth for an option', () => {
    for (const name of ['toString', 'constructor', 'hasOwnProperty']) {
      assert.match(problemsOf({ [name]: 2 })[0]!, /is not an option/u)
    }
  })

  it('treats undefined as not given', () => {
    assert.equal(resolveOptions({ cluster: undefined }).cluster, 'kilovolt')
  })

  it('suggests a name that differs by a slip, and none for something else', () => {
    assert.match(problemsOf({ replica: 3 })[0]!, /did you mean "replicas"/u)
    assert.doesNotMatch(problemsOf({ quorumSize: 3 })[0]!, /did you mean/u)
  })

  it('says what is wrong with a secret without telling it', () => {
    assert.deepEqual(problemsOf({ secret: 'hush' }), [
      '"secret" must be a string of 8 characters or more, this one has 4'
    ])
    assert.match(problemsOf({ secret: 12_345_678 })[0]!, /, not a value of type number$/u)
  })

  it('takes addresses of TCP to listen on only, and names what is none', () => {
    for (const wrong of ['/ip4/127.0.0.1/udp/0', '/ip4/127.0.0.1/tcp/0/ws', '/ip4/127.0.0.1', '/memory/a']) {
      const [problem, ...more] = problemsOf({ listen: ['/ip4/127.0.0.1/tcp/0', wrong] })
      assert.match(problem!, /^"listen" has the entry '.*', which must be a multiaddr of TCP/u)
      assert.ok(problem!.includes(`'${wrong}'`))
      assert.deepEqual(more, [])
    }
    for (const right of ['/ip6/::/tcp/7400', '/dns4/localhost/tcp/0', '/ip4/0.0.0.0/tcp/1/p2p/12D3KooWx']) {
      assert.deepEqual(problemsOf({ listen: [right] }), [])
    }
  })

  it('takes peer ids for the list of peers only, and names what is none', async () => {
    const peer = peerIdOfKey(await createPeerKey())
    assert.deepEqual(problemsOf({ allow: [peer, peerIdFromString(peer).toCID().toString()] }), [])
    for (const wrong of ['abc', '', `/p2p/${peer}`, 5]) {
      const [problem, ...more] = problemsOf({ allow: [peer, wrong] })
      assert.match(problem!, /^"allow" has the entry .*, which must be a peer id/u)
      assert.ok(problem!.includes(show(wrong)))
      assert.deepEqual(more, [])
    }
  })

  it('refuses never to found and nobody to join', () => {
    assert.equal(problemsOf({ found: false }).length, 1)
    assert.equal(problemsOf({ found: false, bootstrap: ['/ip4/10.0.0.1/tcp/7400'] }).length, 0)
    assert.equal(problemsOf({ found: false, mdns: true }).length, 0)
  })

  it('refuses to promise more of a database in memory than it can keep', () => {
    assert.match(problemsOf({ durability: 'fsync' })[0]!, /must be a database on disk/u)
    assert.match(problemsOf({ durability: 'fsync', storage: new MemoryLevel() })[0]!, /must be a database on disk/u)
    assert.equal(problemsOf({ durability: 'fsync', storage: {} }).length, 1)
    const memory = new MemoryLevel()
    const onDisk = Object.create(memory, { supports: { value: { ...memory.supports, permanence: true } } }) as object
    assert.equal(problemsOf({ durability: 'fsync', storage: onDisk }).length, 0)
  })
})
