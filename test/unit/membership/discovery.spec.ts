import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Bootstrap } from '../../../src/membership/bootstrap-source.ts'
import { Discovery, type PeerSource } from '../../../src/membership/discovery.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import type { Hello } from '../../../src/transport/hello.ts'
import { storeId } from './fake-cluster.ts'

const [A, B, OWN] = ['/memory/a', '/memory/b', '/memory/own'] as const

/** A transport that knows how each address answers, and notes every attempt. */
class Phone {
  readonly world = new SimWorld({ seed: 1 })
  readonly clock: SimClock = this.world.clock('n')
  /** Who answers at an address; an error to fail with; `never`. */
  readonly answers = new Map<string, StoreId | KilovoltError | 'never'>()
  readonly dials: { readonly address: string; readonly atMs: number }[] = []
  readonly linked = new Set<StoreId>()
  addresses: readonly string[] = ['/memory/self']
  alone = true
  dialing = 0
  dialingMax = 0

  readonly transport = {
    addresses: [] as readonly string[],
    links: (): readonly PeerId[] => [...this.linked] as unknown as PeerId[],
    helloOf: (peer: PeerId): Hello | undefined => ({ storeId: peer as unknown as StoreId }) as Hello,
    dial: (address: string, signal: AbortSignal): Promise<Hello> => {
      this.dials.push({ address, atMs: this.world.nowMs })
      this.dialingMax = Math.max(this.dialingMax, ++this.dialing)
      return new Promise((resolve, reject) => {
        const answer = this.answers.get(address) ?? new KilovoltError('KV_UNREACHABLE', `nobody at ${address}`)
        signal.addEventListener('abort', () => {
          this.dialing--
          reject(new KilovoltError('KV_ABORTED', 'aborted'))
        })
        if (answer === 'never') return
        this.clock.after(10, () => {
          this.dialing--
          if (typeof answer !== 'string') return reject(answer)
          this.linked.add(answer)
          resolve({ storeId: answer } as Hello)
        })
      })
    }
  }

  make(bootstrap: Bootstrap, source?: PeerSource): Discovery {
    const { clock, world } = this
    const transport = Object.defineProperty(this.transport, 'addresses', { get: () => this.addresses })
    const deps = {
      transport,
      clock,
      random: world.random.fork('discovery'),
      logger: silentLogger,
      isAlone: () => this.alone
    }
    return new Discovery(deps, source === undefined ? { bootstrap } : { bootstrap, source })
  }

  dialsOf(address: string): number[] {
    return this.dials.filter(dial => dial.address === address).map(({ atMs }) => atMs)
  }
}

describe('discovery', () => {
  it('remembers why an address refused this node while links to it merely break, until nobody is there', async () => {
    const phone = new Phone()
    const discovery = phone.make([A])
    phone.answers.set(A, new KilovoltError('KV_HANDSHAKE', 'this node is set to 64 partitions, the other to 256'))
    discovery.start()
    const reason = async (answer: KilovoltError): Promise<string | undefined> => {
      phone.answers.set(A, answer)
      await phone.world.advance(3000)
      return discovery.lastErrors().get(A)?.message
    }
    const broken = new KilovoltError('KV_UNREACHABLE', 'the link broke', { retryable: true })
    assert.match((await reason(broken))!, /64 partitions/u)
    const details = { address: A, refused: true }
    const gone = new KilovoltError('KV_UNREACHABLE', 'nobody listens', { retryable: true, details })
    assert.equal(await reason(gone), 'nobody listens')
    assert.equal(await reason(broken), 'the link broke')
    discovery.stop()
  })

  it('says whether it may come to know more addresses', () => {
    const phone = new Phone()
    assert.equal(phone.make([A]).isFixed, true)
    assert.equal(phone.make(() => [A]).isFixed, false)
    assert.equal(phone.make([A], { start: () => {}, stop: () => {} }).isFixed, false)
  })

  it('dials every address at once, and again with growing pauses, up to a second for a short list', async () => {
    const phone = new Phone()
    const discovery = phone.make([A, B])
    assert.equal(discovery.hasTriedAll, false)
    discovery.start()
    assert.deepEqual(phone.dialsOf(A), [0])
    await phone.world.advance(60_000)
    const at = phone.dialsOf(A)
    const pauses = at.slice(1).map((ms, i) => ms - at[i]!)
    assert.ok(pauses[0]! < 350, `${pauses[0]}`)
    for (let i = 1; i < 3; i++) assert.ok(pauses[i]! > pauses[i - 1]!)
    assert.ok(Math.max(...pauses) <= 1300)
    assert.ok(at.length >= 45, `${at.length} attempts in a minute`)
    assert.ok(discovery.hasTriedAll)
    discovery.stop()
  })

  it('says of each address how it turned out and why', async () => {
    const phone = new Phone()
    phone.answers.set(A, storeId(1))
    phone.answers.set(B, 'never')
    phone.answers.set(OWN, new KilovoltError('KV_HANDSHAKE', 'itself', { details: { self: true } }))
    const foreign = new KilovoltError('KV_HANDSHAKE', 'this node belongs to cluster "x"')
    phone.answers.set('/memory/foreign', foreign)
    const discovery = phone.make([A, B, OWN, '/memory/foreign', '/memory/self', '/memory/down'])
    discovery.start()
    assert.equal(discovery.addresses().get(A), 'new')
    await phone.world.advance(6000)
    assert.deepEqual(Object.fromEntries(discovery.addresses()), {
      [A]: 'linked',
      [B]: 'failed',
      [OWN]: 'self',
      '/memory/foreign': 'failed',
      '/memory/self': 'self',
      '/memory/down': 'failed'
    })
    assert.equal(discovery.storeAt(A), storeId(1))
    const errors = discovery.lastErrors()
    assert.deepEqual([...errors.keys()], [B, '/memory/foreign', '/memory/down'])
    assert.equal(errors.get('/memory/foreign'), foreign)
    assert.match(errors.get(B)!.message, /no answer from \/memory\/b within 5000 ms/u)
    assert.equal(discovery.listsSelf, true)
    assert.equal(phone.dialsOf(OWN).length, 1)
    assert.equal(phone.dialsOf('/memory/self').length, 0)
    assert.equal(phone.dialsOf(A).length, 1)
    discovery.stop()
  })

  it('forgets the error of an address that answers at last, and dials again when its link is gone', async () => {
    const phone = new Phone()
    const discovery = phone.make([A])
    discovery.start()
    await phone.world.advance(1000)
    assert.equal(discovery.lastErrors().size, 1)
    phone.answers.set(A, storeId(1))
    await phone.world.advance(3000)
    assert.equal(discovery.lastErrors().size, 0)
    const dials = phone.dials.length
    await phone.world.advance(120_000)
    assert.equal(phone.dials.length, dials)
    phone.linked.clear()
    await phone.world.advance(1300)
    assert.equal(phone.dials.length, dials + 1)
    discovery.stop()
  })

  it('bothers the dead addresses of a long list seldom once somebody is alive, and sooner when that one is gone', async () => {
    const phone = new Phone()
    const list = Array.from({ length: 256 }, (_, i) => `/memory/${i}`)
    const discovery = phone.make(list)
    phone.alone = false
    discovery.start()
    await phone.world.advance(120_000)
    const before = phone.dials.length
    await phone.world.advance(600_000)
    const each = (phone.dials.length - before) / list.length
    assert.ok(each >= 14 && each <= 25, `${each}: as often in all as a short list`)
    phone.alone = true
    const atMs = phone.world.nowMs
    await phone.world.advance(12_000)
    assert.ok(phone.dials.at(-1)!.atMs > atMs)
    discovery.stop()
  })

  it('asks a function again, adds what is new and drops what is gone', async () => {
    const phone = new Phone()
    let calls = 0
    const discovery = phone.make(async () => {
      calls++
      return calls === 1 ? [A] : [B]
    })
    discovery.start()
    await phone.world.advance(100)
    assert.deepEqual(discovery.bootstrapAddresses(), [A])
    assert.equal(calls, 1)
    await phone.world.advance(7000)
    assert.deepEqual(discovery.bootstrapAddresses(), [B])
    assert.equal(calls, 2)
    phone.alone = false
    await phone.world.advance(600_000)
    assert.ok(calls >= 9 && calls <= 14, `${String(calls)} calls`)
    discovery.stop()
  })

  it('survives a function that throws, rejects, returns nonsense or never answers, and says so', async () => {
    const failures: readonly (readonly [bootstrap: () => never, code: string])[] = [
      [
        () => {
          throw new Error('no DNS')
        },
        'KV_UNREACHABLE'
      ],
      [() => Promise.reject(new KilovoltError('KV_CONFIG', 'no token')) as never, 'KV_CONFIG'],
      [() => [A, 7] as never, 'KV_CONFIG'],
      [() => new Promise(() => {}) as never, 'KV_UNREACHABLE']
    ]
    for (const [bootstrap, code] of failures) {
      const phone = new Phone()
      let calls = 0
      let healthy = false
      const discovery = phone.make(() => {
        calls++
        return healthy ? [A] : bootstrap()
      })
      discovery.start()
      await phone.world.advance(11_000)
      assert.equal(discovery.lastErrors().get('bootstrap function')?.code, code)
      assert.ok(calls <= 8, `${String(calls)} calls`)
      assert.equal(phone.dials.length, 0)
      healthy = true
      await phone.world.advance(25_000)
      assert.equal(discovery.lastErrors().get('bootstrap function'), undefined)
      assert.ok(phone.dialsOf(A).length > 0)
      discovery.stop()
    }
  })

  it('dials what a source finds, at most eight at a time, and gives up on what never answers', async () => {
    const phone = new Phone()
    let found: (address: string) => void = () => {}
    let running = false
    const source: PeerSource = {
      start: report => {
        running = true
        found = report
      },
      stop: () => {
        running = false
      }
    }
    const discovery = phone.make([], source)
    discovery.start()
    assert.ok(running)
    phone.answers.set(A, storeId(1))
    found(A)
    found(A)
    await phone.world.advance(50)
    assert.equal(discovery.addresses().get(A), 'linked')
    assert.equal(phone.dialsOf(A).length, 1)
    for (let i = 0; i < 1000; i++) found(`/memory/found-${i}`)
    assert.ok(phone.dialingMax <= 8)
    await phone.world.advance(1000)
    assert.ok(discovery.addresses().size <= 257)
    assert.ok(phone.dialingMax <= 8)
    await phone.world.advance(120_000)
    assert.equal(discovery.addresses().size, 1)
    assert.deepEqual(discovery.bootstrapAddresses(), [])
    discovery.stop()
    assert.ok(!running)
    found('/memory/late')
    assert.equal(discovery.addresses().size, 1)
  })

  it('leaves no timer and no attempt when it is stopped', async () => {
    for (const atMs of [0, 5, 100]) {
      const phone = new Phone()
      phone.answers.set(A, 'never')
      const discovery = phone.make(() => [A, B])
      discovery.start()
      await phone.world.advance(atMs)
      discovery.stop()
      discovery.stop()
      const dials = phone.dials.length
      await phone.world.advance(20)
      assert.equal(phone.clock.pending, 0)
      await phone.world.advance(20_000)
      assert.equal(phone.dials.length, dials)
    }
  })
})
