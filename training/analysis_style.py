"""The style sheet of the data page, light and dark."""

STYLE = """
:root { color-scheme: light dark; --ink: 42%; --line: #8884; --soft: #8881; --bad: #c62828; --link: #1a5fd0;
  --s0: #2f6fed; --s1: #12a594; --s2: #e5a000; --s3: #8a94a6; }
@media (prefers-color-scheme: dark) { :root { --ink: 64%; --bad: #ff7b72; --link: #7aa7ff; --s0: #5b8cff; } }
* { box-sizing: border-box; } html { scroll-padding-top: 3.5rem; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto 4rem; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
nav { position: sticky; top: 0; z-index: 1; background: Canvas; border-bottom: 1px solid var(--line);
  padding: .6rem 0; display: flex; gap: 1.1rem; overflow-x: auto; white-space: nowrap; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { margin: 1.2rem 0 0; } h2 { margin: 3rem 0 .5rem; } h3 { margin: 0; font-size: 1.05rem; }
.quiet { opacity: .75; font-size: .85rem; } code { overflow-wrap: anywhere; } .bad { color: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; } .l { text-align: left; }
td:has(.bar) { text-align: left; } .bar { display: flex; width: 16rem; height: .9rem; } .bar i { min-width: 1px; }
.s0 { background: var(--s0); } .s1 { background: var(--s1); }
.s2 { background: var(--s2); } .s3 { background: var(--s3); }
.key i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 1em; }
.index { display: flex; flex-wrap: wrap; gap: .1rem .9rem; margin: .5rem 0 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; }
.card:target { border-color: var(--link); box-shadow: 0 0 0 1px var(--link); }
.photos { display: flex; flex-wrap: wrap; gap: 3px; margin: .3rem 0; align-items: center; }
.photos img, .none { width: 3.4rem; height: 3.4rem; border-radius: 3px; display: block; }
.pair .photos img, .pair .none { width: 5rem; height: 5rem; }
.none { border: 1px dashed var(--line); font-size: .65rem; line-height: 1.2; display: grid; place-items: center;
  text-align: center; }
.sides { display: flex; gap: 1rem; } .sides > :last-child { flex: 1; }
.mean img { width: 6rem; height: 6rem; border-radius: 3px; outline: 2px solid var(--line); }
.sides .photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(2.8rem, 1fr)); }
.sides .photos img { width: 100%; height: auto; }
.swatch { display: inline-block; width: 1.4em; height: 1em; border: 1px solid var(--line); vertical-align: -.1em; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; } svg text { font-size: 12px; fill: CanvasText; }
.band { fill: var(--soft); stroke: var(--line); } path.mean { stroke: CanvasText; stroke-width: 2; }
circle { fill-opacity: .8; } .map { border: 1px solid var(--line); border-radius: .5rem; }
.map path { fill-opacity: .7; transition: fill-opacity .15s; }
.pick { display: flex; flex-wrap: wrap; gap: .1rem .8rem; margin-bottom: .6rem; }
.pick label { cursor: pointer; border-radius: 3px; padding: 0 .2rem; } .pick input { position: absolute; opacity: 0; }
.pick label:has(:checked) { outline: 2px solid var(--link); } .pick label:has(:focus-visible) { outline: 3px solid; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: 1rem; }
.pair { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; font-size: .8rem; line-height: 1.35;
  overflow-wrap: anywhere; } details { margin: 1rem 0; } summary { cursor: pointer; }
"""
