// A flame graph as one HTML file without anything from elsewhere: width is share, the outermost
// frame stands on top; a click shows one frame as the whole.

import { totalOf } from "./frame-tree.mjs";

/** Narrower frames are left out: nobody could see them. */
const SHARE_MIN = 0.001;

/** [name, kind, total, children] of what is wide enough. */
function packed(node, least) {
  const children = [...node.children.values()]
    .filter((child) => totalOf(child) >= least)
    .sort((a, b) => totalOf(b) - totalOf(a))
    .map((child) => packed(child, least));
  return [node.name, node.kind, totalOf(node), children];
}

const STYLE = `body{font:12px monospace;margin:1em;background:#fff;color:#111}
#graph{position:relative}#graph div{position:absolute;height:17px;overflow:hidden;
white-space:nowrap;border-right:1px solid #fff;box-sizing:border-box;padding:1px 3px;cursor:pointer}
.js{background:#f2c14e}.native{background:#9ec1e8}.kernel{background:#e8a09e}.gc{background:#b8d8a8}
span{padding:1px 6px;margin-right:1em}`;

const SCRIPT = `const graph=document.getElementById("graph");
function draw(root){graph.textContent="";let deepest=0;
const lay=(node,left,width,depth)=>{if(width<0.05)return;deepest=Math.max(deepest,depth);
const box=document.createElement("div");box.className=node[1];
box.style.cssText="left:"+left+"%;width:"+width+"%;top:"+depth*18+"px";
box.textContent=node[0];
box.title=node[0]+": "+(100*node[2]/tree[2]).toFixed(2)+"% of all";
box.onclick=()=>draw(node===root?tree:node);graph.append(box);
let at=left;for(const child of node[3]){const part=width*child[2]/node[2];
lay(child,at,part,depth+1);at+=part}};
lay(root,0,100,0);graph.style.height=(deepest+2)*18+"px"}
draw(tree);`;

/** @param {import("./frame-tree.mjs").FrameTree} tree */
export function flameGraph(tree, title) {
  const data = JSON.stringify(packed(tree.root, tree.total * SHARE_MIN)).replaceAll("<", "\\u003c");
  const safe = title.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${safe}</title>
<style>${STYLE}</style><h1>${safe}</h1>
<p><span class="js">JavaScript</span><span class="native">native</span>
<span class="kernel">kernel</span><span class="gc">garbage collection</span>
click a frame to see it as the whole, and again to go back</p>
<div id="graph"></div><script>const tree=${data};${SCRIPT}</script></html>
`;
}
