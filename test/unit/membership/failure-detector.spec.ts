import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import type { DetectorEffect, HelperAnswer } from '../../../src/membership/detector-effect.ts'
import { FailureDetector } from '../../../src/membership/failure-detector.ts'
import type { StoreId } from '../../../src/model/node-id.ts'
import type { Liveness } from '../../../src/model/view.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { storeId } from './fake-cluster.ts'

const SELF = storeId(0)
const [A, B, C] = [storeId(1), storeId(2), storeId(3)] as [StoreId, StoreId, StoreId]

/** Drives a detector by hand: time moves only where the script says. */
class Script {
  readonly detector: FailureDetector
  nowMs = 1000
  effects: DetectorEffect[] = []

  constructor(members: readonly StoreId[], seed: string | number = 1) {
    this.detector = new FailureDetector(SELF, this.nowMs, new SeededRandom(seed))
    for (const member of members) {
      this.take(this.detector.linked(this.nowMs, member))
      this.learn(member)
    }
  }

  take(effects: readonly DetectorEffect[]): readonly DetectorEffect[] {
    this.effects.push(...effects)
    return effects
  }

  learn(
    storeId: StoreId,
    status: Liveness = 'alive',
    incarnation = 1,
    accusers: readonly StoreId[] = [],
    hasEnded = false
  ): void {
    this.take(this.detector.learn(this.nowMs, { storeId, incarnation, status }, new Set(accusers), hasEnded))
  }

  /** Ticks at every time the detector asks for, up to then; `answer` sees each effect as it comes. */
  until(ms: number, answer: (effect: DetectorEffect) => void = () => {}): void {
    for (;;) {
      const atMs = this.detector.wakeAtMs
      if (atMs > ms) break
      this.nowMs = Math.max(this.nowMs, atMs)
      for (const effect of this.take(this.detector.tick(this.nowMs, 0))) answer(effect)
    }
    this.nowMs = ms
  }

  /** Time passes while the process does not run. */
  stall(ms: number): void {
    this.nowMs += ms
  }

  /** The latest ping of the member. */
  ping(store: StoreId): Extract<DetectorEffect, { kind: 'ping' }> {
    const ping = this.effects.findLast(effect => effect.kind === 'ping' && effect.to === store)
    assert.ok(ping?.kind === 'ping', `no ping of ${store}`)
    return ping
  }

  of<K extends DetectorEffect['kind']>(kind: K): Extract<DetectorEffect, { kind: K }>[] {
    return this.effects.filter((effect): effect is Extract<DetectorEffect, { kind: K }> => effect.kind === kind)
  }

  ack(store: StoreId): void {
    this.take(this.detector.acked(this.nowMs, store, this.ping(store).probe))
  }

  miss(store: StoreId): void {
    this.take(this.detector.missed(this.nowMs, store, this.ping(store).probe))
  }
}

describe('the failure detector', () => {
  it('probes each member once in a round, one every 500 ms, in an order of its own each time', () => {
    const members = [1, 2, 3, 4, 5].map(storeId)
    const script = new Script(members)
    const answerAll = (effect: DetectorEffect): void => {
      if (effect.kind === 'ping') script.take(script.detector.acked(script.nowMs, effect.to, effect.probe))
    }
    script.until(1000 + 500 * 25, answerAll)
    const order = script.of('ping').map(({ to }) => to)
    assert.equal(order.length, 25)
    // What came in while the first round was under way may be probed in any part of it.
    const rounds = [1, 2, 3, 4].map(round => order.slice(round * 5, round * 5 + 5))
    for (const round of rounds) assert.deepEqual(round.toSorted(), members)
    assert.ok(new Set(rounds.map(round => round.join())).size > 1)
  })

  it('asks three helpers when a ping is not answered, and accuses when they have no answer either', () => {
    const script = new Script([A, B, C, storeId(4), storeId(5)])
    const target = script.effects.length
    assert.equal(target, 0)
    script.until(1500, () => {})
    const ping = script.of('ping')[0]!
    script.until(script.nowMs + ping.timeoutMs + 1)
    const requests = script.of('ping-request').filter(request => request.target === ping.to)
    assert.equal(requests.length, 3)
    assert.ok(requests.every(({ helper }) => helper !== ping.to && helper !== SELF))
    assert.equal(new Set(requests.map(({ helper }) => helper)).size, 3)
    const { probe } = requests[0]!
    for (const { helper } of requests) {
      assert.equal(script.of('accuse').length, 0)
      script.take(script.detector.helped(script.nowMs, ping.to, probe, helper, 'nack'))
    }
    assert.deepEqual(script.of('accuse'), [{ kind: 'accuse', store: ping.to, incarnation: 1 }])
    assert.equal(script.detector.healthMultiplier, 1)
  })

  it('accuses nobody whom one helper reaches', () => {
    const script = new Script([A, B, C])
    script.until(1500)
    const ping = script.of('ping')[0]!
    script.until(script.nowMs + ping.timeoutMs + 1)
    const [first, second] = script.of('ping-request').filter(request => request.target === ping.to)
    script.take(script.detector.helped(script.nowMs, ping.to, first!.probe, first!.helper, 'nack'))
    script.take(script.detector.helped(script.nowMs, ping.to, second!.probe, second!.helper, 'ack'))
    assert.ok(!script.of('accuse').some(({ store }) => store === ping.to))
  })

  it('pings once more itself while the helpers try, and accuses nobody who answers that, however late', () => {
    const script = new Script([A, B, C])
    script.until(1500)
    const first = script.of('ping')[0]!
    script.until(script.nowMs + first.timeoutMs + 1)
    const again = script.ping(first.to)
    assert.notEqual(again.probe, first.probe)
    const requests = script.of('ping-request').filter(({ target }) => target === first.to)
    for (const { helper, probe } of requests.slice(1))
      script.take(script.detector.helped(script.nowMs, first.to, probe, helper, 'nack'))
    script.nowMs += 10
    script.ack(first.to)
    for (const { helper, probe } of requests.slice(0, 1))
      script.take(script.detector.helped(script.nowMs, first.to, probe, helper, 'nack'))
    script.until(script.nowMs + 490)
    assert.ok(!script.of('accuse').some(({ store }) => store === first.to))
  })

  it('learns the round trip from each of the two pings by the time at which that one was sent', () => {
    const timeoutMs = (afterMs: number, which: 'first' | 'again'): number => {
      const script = new Script([A, B])
      // The very first timeout is longer than it will ever be again on a fast network.
      script.take(script.detector.unlinked(script.nowMs, A))
      const first = script.ping(A)
      script.until(script.nowMs + first.timeoutMs)
      const { probe } = which === 'first' ? first : script.ping(A)
      assert.equal(probe === first.probe, which === 'first')
      script.nowMs += afterMs
      script.take(script.detector.acked(script.nowMs, A, probe))
      script.take(script.detector.unlinked(script.nowMs, A))
      return script.ping(A).timeoutMs
    }
    // One sample: three times the round trip, within 300 and 1,000 ms.
    assert.equal(timeoutMs(20, 'again'), 300)
    assert.equal(timeoutMs(200, 'again'), 600)
    assert.equal(timeoutMs(20, 'first'), 1000)
  })

  it('is content with no answer to the second ping as long as a helper has not answered', () => {
    const script = new Script([A, B, C])
    script.until(1500)
    const { to, timeoutMs } = script.of('ping')[0]!
    script.until(script.nowMs + timeoutMs + 1)
    script.miss(to)
    assert.ok(!script.of('accuse').some(({ store }) => store === to))
  })

  it('trusts itself less when a helper keeps silent, since that is not about the target', () => {
    const script = new Script([A, B, C])
    script.until(1500)
    const ping = script.of('ping')[0]!
    let multiplier = 1
    script.until(script.nowMs + 3 * ping.timeoutMs + 2, effect => {
      multiplier = Math.max(multiplier, script.detector.healthMultiplier)
      if (effect.kind === 'ping' && effect.to !== ping.to) script.ack(effect.to)
    })
    assert.ok(script.of('accuse').some(({ store }) => store === ping.to))
    assert.equal(multiplier, 2)
  })

  it('takes an answer that comes late, and learns from it', () => {
    const script = new Script([A, B])
    script.until(1500)
    const ping = script.of('ping')[0]!
    script.until(script.nowMs + ping.timeoutMs + 100)
    script.take(script.detector.acked(script.nowMs, ping.to, ping.probe))
    script.until(script.nowMs + 400)
    assert.ok(!script.of('accuse').some(({ store }) => store === ping.to))
  })

  it('probes at once when a link closes, looks again half a second later, and then accuses', () => {
    const script = new Script([A, B])
    const fromMs = script.nowMs
    script.take(script.detector.unlinked(fromMs, A))
    script.miss(A)
    const [request] = script.of('ping-request')
    script.take(script.detector.helped(fromMs, A, request!.probe, B, 'nack'))
    assert.equal(script.of('accuse').length, 0)
    const pings = script.of('ping').filter(({ to }) => to === A).length
    script.until(fromMs + 500)
    assert.equal(script.of('ping').filter(({ to }) => to === A).length, pings + 1)
    script.miss(A)
    assert.deepEqual(script.of('accuse'), [{ kind: 'accuse', store: A, incarnation: 1 }])
  })

  it('accuses nobody whose link is only replaced', () => {
    const script = new Script([A, B])
    script.take(script.detector.unlinked(1000, A))
    script.miss(A)
    const [request] = script.of('ping-request')
    script.take(script.detector.helped(1000, A, request!.probe, B, 'nack'))
    script.take(script.detector.linked(1100, A))
    script.until(1500, effect => {
      if (effect.kind === 'ping') script.ack(effect.to)
    })
    assert.equal(script.of('accuse').length, 0)
  })

  it('accuses nobody of a probe that was sent to an earlier incarnation', () => {
    const script = new Script([A])
    script.until(1500)
    const { probe } = script.ping(A)
    script.learn(A, 'alive', 2)
    script.take(script.detector.missed(2000, A, probe))
    assert.equal(script.of('accuse').length, 0)
  })

  it('gives a newcomer without a link two seconds before a probe counts', () => {
    const script = new Script([])
    script.learn(A)
    script.until(2900)
    assert.equal(script.of('ping').length, 0)
    script.until(3600)
    assert.ok(script.of('ping').length > 0)
  })

  it('buries after the shortest suspicion once enough others have confirmed it', () => {
    const script = new Script([A, B, C])
    const answer = (effect: DetectorEffect): void => {
      if (effect.kind === 'ping' && effect.to !== A) script.ack(effect.to)
      if (effect.kind === 'ping-request') {
        script.take(script.detector.helped(script.nowMs, A, effect.probe, effect.helper, 'nack'))
      }
    }
    script.learn(A, 'suspect', 1, [B])
    script.until(2000, answer)
    script.learn(A, 'suspect', 1, [B, C, SELF])
    script.until(3990, answer)
    assert.equal(script.of('bury').length, 0)
    script.until(4310, answer)
    assert.deepEqual(script.of('bury'), [{ kind: 'bury', store: A, incarnation: 1 }])
  })

  it('buries a second sooner when nothing listens any more where the member was, whenever it learns that', () => {
    const buriedAfterMs = (at: 'once' | 'later' | 'never'): number => {
      const script = new Script([A])
      const fromMs = script.nowMs
      script.learn(A, 'suspect', 1, [SELF], at === 'once')
      script.until(fromMs + 1000)
      if (at === 'later') script.learn(A, 'suspect', 1, [SELF, B], true)
      // What was true once is not taken back: it listens again, and may refute.
      script.learn(A, 'suspect', 1, [SELF, B, C])
      while (script.of('bury').length === 0) script.until(script.nowMs + 20)
      return script.nowMs - fromMs
    }
    for (const at of ['once', 'later'] as const) {
      const ms = buriedAfterMs(at)
      assert.ok(ms >= 2000 && ms <= 2220, `${ms}`)
    }
    const ms = buriedAfterMs('never')
    assert.ok(ms >= 3000 && ms <= 3320, `${ms}`)
  })

  it('waits six times as long for a lone accuser, and buries nobody who refutes', () => {
    for (const refutes of [true, false]) {
      const script = new Script([A, B, C])
      const answer = (effect: DetectorEffect): void => {
        if (effect.kind === 'ping') script.ack(effect.to)
      }
      script.learn(A, 'suspect', 1, [B])
      script.until(18_900, answer)
      assert.equal(script.of('bury').length, 0)
      if (refutes) script.learn(A, 'alive', 2)
      script.until(21_000, answer)
      assert.equal(script.of('bury').length > 0, !refutes)
    }
  })

  it('has more patience with a member that keeps refuting', () => {
    const buriedAfterMs = (flaps: number): number => {
      const script = new Script([A])
      let incarnation = 1
      for (let i = 0; i < flaps; i++) {
        script.learn(A, 'suspect', incarnation, [SELF])
        script.learn(A, 'alive', ++incarnation)
      }
      const fromMs = script.nowMs
      script.learn(A, 'suspect', incarnation, [SELF])
      while (script.of('bury').length === 0) script.until(script.nowMs + 100)
      return script.nowMs - fromMs
    }
    assert.ok(buriedAfterMs(0) <= 3400)
    assert.ok(buriedAfterMs(3) > 5900)
    const longest = buriedAfterMs(20)
    assert.ok(longest > 11_900 && longest <= 12_400, `${longest}`)
  })

  it('does not count time in which it did not run', () => {
    const script = new Script([A])
    script.learn(A, 'suspect', 1, [SELF])
    script.until(3500)
    script.stall(60_000)
    const woken = script.nowMs
    const effects = script.take(script.detector.tick(woken, 0))
    assert.ok(
      effects.some(effect => effect.kind === 'ping' && effect.to === A),
      'the suspect is probed again'
    )
    assert.equal(script.of('bury').length, 0)
    script.until(woken + 900)
    assert.equal(script.of('bury').length, 0)
    script.until(woken + 2500)
    assert.ok(script.of('bury').length > 0)
    assert.ok(script.detector.healthMultiplier >= 4)
  })

  it('starts open probes afresh after a pause, and waits a second longer for them', () => {
    const script = new Script([A])
    script.until(1500)
    const { probe } = script.ping(A)
    script.stall(3000)
    const woken = script.nowMs
    script.take(script.detector.tick(woken, 0))
    assert.notEqual(script.ping(A).probe, probe)
    script.until(woken + 1000)
    assert.equal(script.of('accuse').length, 0)
    // The answer that was queued all the time.
    script.take(script.detector.acked(woken + 1000, A, probe))
    script.until(woken + 1400)
    assert.equal(script.of('accuse').length, 0)
  })

  it('notices a pause by whatever input comes first', () => {
    const script = new Script([A])
    script.learn(A, 'suspect', 1, [SELF])
    script.until(3900)
    script.stall(5000)
    script.take(script.detector.linked(script.nowMs, B))
    script.take(script.detector.tick(script.nowMs, 0))
    assert.equal(script.of('bury').length, 0)
  })

  it('still finds the dead when its loop is always late', () => {
    const script = new Script([A])
    for (let i = 0; i < 100 && script.of('accuse').length === 0; i++) {
      script.nowMs = Math.max(script.nowMs, script.detector.wakeAtMs + 400)
      script.take(script.detector.tick(script.nowMs, 400))
    }
    assert.equal(script.of('accuse').length, 1)
  })

  it('does not take a suspicion that ends early for a pause of its own', () => {
    const script = new Script([A, B, C])
    const answer = (effect: DetectorEffect): void => {
      if (effect.kind === 'ping') script.ack(effect.to)
    }
    script.learn(A, 'suspect', 1, [B])
    script.until(9000, answer)
    script.learn(A, 'suspect', 1, [B, C, SELF])
    script.until(9001, answer)
    assert.equal(script.of('bury').length, 1)
    assert.equal(script.detector.healthMultiplier, 1)
  })

  it('forgets the dead: no probe of them fails any more', () => {
    const script = new Script([A, B])
    script.until(1500)
    script.learn(A, 'dead')
    script.learn(B, 'left')
    script.effects = []
    script.until(10_000)
    assert.deepEqual(script.effects, [])
  })

  it('accuses only members that were learned, names their incarnation, and always wants to be called again', () => {
    const store = fc.integer({ min: 1, max: 4 }).map(storeId)
    const input = fc.oneof(
      fc.record({ kind: fc.constant('tick' as const), lateMs: fc.nat(5000) }),
      fc.record({
        kind: fc.constant('learn' as const),
        store,
        status: fc.constantFrom<Liveness>('alive', 'suspect', 'dead', 'left'),
        incarnation: fc.nat(5),
        accusers: fc.array(store, { maxLength: 3 })
      }),
      fc.record({ kind: fc.constant('link' as const), store }),
      fc.record({ kind: fc.constant('unlink' as const), store }),
      fc.record({ kind: fc.constant('forget' as const), store }),
      fc.record({ kind: fc.constant('ack' as const), store, back: fc.nat(3) }),
      fc.record({ kind: fc.constant('miss' as const), store, back: fc.nat(3) }),
      fc.record({
        kind: fc.constant('help' as const),
        store,
        helper: store,
        answer: fc.constantFrom<HelperAnswer>('ack', 'nack', 'none')
      })
    )
    fc.assert(
      fc.property(fc.array(input, { maxLength: 80 }), fc.nat(), (inputs, seed) => {
        const script = new Script([], seed)
        const known = new Map<StoreId, number>()
        for (const step of inputs) {
          const { detector, nowMs } = script
          const last = script.effects.findLast(effect => 'probe' in effect)
          const probe = last !== undefined && 'probe' in last ? last.probe : 0
          let effects: readonly DetectorEffect[]
          if (step.kind === 'tick') {
            script.nowMs = Math.max(nowMs, detector.wakeAtMs) + (step.lateMs > 4000 ? step.lateMs : 0)
            effects = detector.tick(script.nowMs, step.lateMs)
          } else if (step.kind === 'learn') {
            if (step.status === 'dead' || step.status === 'left') known.delete(step.store)
            else known.set(step.store, step.incarnation)
            effects = detector.learn(nowMs, { ...step, storeId: step.store }, new Set(step.accusers))
          } else if (step.kind === 'link') effects = detector.linked(nowMs, step.store)
          else if (step.kind === 'unlink') effects = detector.unlinked(nowMs, step.store)
          else if (step.kind === 'forget') {
            known.delete(step.store)
            effects = detector.forget(nowMs, step.store)
          } else if (step.kind === 'ack') effects = detector.acked(nowMs, step.store, probe - step.back)
          else if (step.kind === 'miss') effects = detector.missed(nowMs, step.store, probe - step.back)
          else effects = detector.helped(nowMs, step.store, probe, step.helper, step.answer)
          for (const effect of script.take(effects)) {
            if (effect.kind === 'accuse' || effect.kind === 'bury') {
              assert.equal(known.get(effect.store), effect.incarnation)
            } else if (effect.kind === 'ping') assert.ok(known.has(effect.to))
            else assert.ok(effect.helper !== effect.target && known.has(effect.helper))
          }
          assert.ok(detector.wakeAtMs >= script.nowMs && detector.wakeAtMs <= script.nowMs + 8 * 500)
          assert.ok(detector.healthMultiplier >= 1 && detector.healthMultiplier <= 8)
        }
      })
    )
  })
})
