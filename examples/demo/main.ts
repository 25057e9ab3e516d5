// `npm start`: five processes become a cluster, take 24,000 real records, lose one process to kill -9 in the middle of
// a running load, and show that nothing acknowledged is missing. Ends by itself within a minute.
import { loadCities } from './cities.ts'
import { Member, until } from './fleet.ts'
import type { Look, News } from './messages.ts'
import { Screen } from './screen.ts'

const PROCESSES = 5
const RECORDS_PER_BATCH = 500
const COUNTERS = 2000
const LOAD_BEFORE_KILL_MS = 2000
const LOAD_AFTER_KILL_MS = 7000

const screen = new Screen()
const events: { readonly by: Member; readonly name: string; readonly about: string; readonly at: number }[] = []
const acknowledged = new Map<string, number>()
const load = { ok: 0, failed: 0 }

function onNews(by: Member, news: News): void {
  if (news.type === 'event') {
    events.push({ by, name: news.name, about: news.about, at: news.at })
    return
  }
  load.ok += news.ok
  load.failed += news.failed
  for (const [key, count] of news.acknowledged) acknowledged.set(key, Math.max(count, acknowledged.get(key) ?? 0))
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))

/** Waits until every member sees all the others and no partition moves any more. */
function settled(members: readonly Member[]): Promise<Look> {
  return until('a settled cluster', 20_000, async () => {
    const looks = await Promise.all(members.map(member => member.look()))
    const ids = members.map(({ id }) => id)
    const good = looks.every(
      ({ alive, up, changing, shares, copies }) =>
        ids.every(id => alive.includes(id) && up.includes(id)) &&
        changing === 0 &&
        copies.every(count => count === 3) &&
        shares.every(({ id, slots }) => !ids.includes(id) || slots > 0)
    )
    return good ? looks[0] : undefined
  })
}

async function form(): Promise<Member[]> {
  screen.chapter(`Starting ${PROCESSES} processes on this machine`)
  const members = Array.from({ length: PROCESSES }, (_, i) => new Member('ABCDEF'[i]!, onNews))
  const [first, ...others] = members
  await first!.start([])
  screen.line(`  ${first!.label} founded the cluster and listens on ${first!.address}`)
  await Promise.all(others.map(member => member.start([first!.address])))
  screen.line(`  ${others.map(({ label }) => label).join(', ')} joined through it`)
  screen.ring(await settled(members), members)
  return members
}

async function fill(members: readonly Member[]): Promise<string[]> {
  const cities = loadCities()
  screen.chapter(`Storing ${cities.length.toLocaleString('en')} cities of the world, three copies each, at quorum`)
  const startedAt = performance.now()
  let next = 0
  let stored = 0
  await Promise.all(
    members.map(async member => {
      while (next < cities.length) {
        const records = cities.slice(next, (next += RECORDS_PER_BATCH))
        await member.ask({ type: 'store', records })
        stored += records.length
        screen.progress(stored, cities.length, 'records')
      }
    })
  )
  const seconds = (performance.now() - startedAt) / 1000
  screen.line(`  ${Math.round(cities.length / seconds).toLocaleString('en')} records a second`)
  return cities.map(([key]) => key)
}

/** Kills one process under load; returns it with the moment of its death. */
async function disaster(members: readonly Member[], cities: readonly string[]): Promise<Member> {
  screen.chapter('Every process reads and writes visit counters at quorum; then one of them is killed with SIGKILL')
  const counters = cities.slice(0, COUNTERS)
  const slice = COUNTERS / members.length
  await Promise.all(
    members.map((member, i) => member.ask({ type: 'visit', keys: counters.slice(i * slice, (i + 1) * slice) }))
  )
  await pause(LOAD_BEFORE_KILL_MS)
  const before = { ...load }
  screen.line(`  before: ${before.ok.toLocaleString('en')} operations done, ${before.failed} failed`)
  const victim = members.at(-1)!
  const survivors = members.slice(0, -1)
  const killedAt = Date.now()
  victim.kill()
  screen.line(`  kill -9 of ${victim.label} (pid ${victim.pid})`)
  await pause(LOAD_AFTER_KILL_MS)
  await Promise.all(survivors.map(member => member.ask({ type: 'halt' })))
  for (const name of ['member:suspected', 'member:failed']) {
    const seen = survivors.map(member => {
      const event = events.find(e => e.by === member && e.name === name && e.about === victim.id)
      return `${member.label} ${event === undefined ? '–' : `${event.at - killedAt} ms`}`
    })
    screen.line(`  ${name.padEnd(16)} noticed after: ${seen.join(', ')}`)
  }
  const wrong = events.filter(e => e.name === 'member:failed' && e.about !== victim.id)
  if (wrong.length > 0) throw new Error(`${wrong.length} living members were declared dead`)
  screen.line(
    `  after:  ${(load.ok - before.ok).toLocaleString('en')} operations done, ${load.failed - before.failed} failed`
  )
  if (load.ok === before.ok) throw new Error('nothing went on after the kill')
  return victim
}

async function verify(member: Member, cities: readonly string[]): Promise<void> {
  const visits = [...acknowledged]
  const answer = await member.ask({ type: 'check', cities, visits })
  if (answer.type !== 'checked') throw new Error(`unexpected answer ${answer.type}`)
  const checked = (cities.length + visits.length).toLocaleString('en')
  screen.line(`  ${member.label} read ${checked} acknowledged records back at quorum: ${answer.missing.length} missing`)
  if (answer.missing.length > 0) throw new Error(`lost: ${answer.missing.slice(0, 5).join(', ')}`)
}

async function story(): Promise<void> {
  const members = await form()
  const cities = await fill(members)
  const victim = await disaster(members, cities)
  const survivors = members.filter(member => member !== victim)
  screen.chapter('Is anything missing?')
  await verify(survivors[0]!, cities)
  screen.chapter(`${victim.label} comes back: a new process with an empty memory joins and takes over its share`)
  const returned = new Member(victim.label, onNews)
  await returned.start(survivors.map(({ address }) => address))
  const now = [...survivors, returned]
  screen.ring(await settled(now), now)
  await verify(returned, cities)
  screen.chapter('Summary')
  screen.line(`  ${cities.length.toLocaleString('en')} records on ${PROCESSES} processes, 3 copies each`)
  screen.line(`  ${load.ok.toLocaleString('en')} quorum reads and writes during the load, ${load.failed} failed`)
  screen.line('  1 process killed, 0 acknowledged writes lost')
  await Promise.all(now.map(member => member.ask({ type: 'stop' })))
}

try {
  await story()
} catch (error) {
  screen.line(`the demo failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
// Members end when their channel closes.
process.exit()
