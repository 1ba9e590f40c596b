"""What the statistics of the graph section begin with: part of the file format.

A stream of symbols without a primer that holds a few common networks. It never changes;
tests/compression/golden/make_primer.py wrote it.
"""

from base64 import b85decode

PRIMER = b85decode(
    b"G=ijQMjWM${Uxa1xzO-{D%q4f!$8Z8vSIOI8RC(ZK5iwrh*QF+Au${0d?4%>`zBi@Bn>E_<KGVmY"
    b"6tJ1LYuMssPCElQG>76kxZRdQ%`Vt>?u)H;Dl~z3%=FLl;yIgrfYEUwoTiCA_eojxfmNwJ81dEBy"
    b"QjWb;B*DrGV5|0!U>i#o!H9j=$0n>qXjI;ON*Sf{p`&k+z;|$}5VW#l^ct9dNC4?lhI(nj$v#VND"
    b"$Qb2HmCz}&jR<AF<vdZ!pcnzPG+-HegLV86f!$hpt-gwcsk+7y1Fykcm(qGd7tRb$g1Mz4*U0`+n"
    b"{Iu!Ll2=MH042D$LMYgvAyhBys=fdWVjgvIdTktSiEzqR7Z1Y>YX$l?>q+t>JETTud)zQfWw@|v*"
    b"y5#-Qq0S7pTX3^*dSFY>Q-5&)bS;#{1o3}B=5K@>Aiulf0Ssvyafw$j0$yjHKC+-c<Wxum&fzEa2"
    b"!G&n+~Y7_EFoUY%lE?Ki>uI4*+9S(m<N~tG&5zr%|=?V4&L#VOOuh%(qk5uSh2@R52h1DZk56C!E"
    b"Xvo)nT%@&yr<lpj4tFU?Pr?Aa5%pViUQAX8ho_KJf3KR-;!<zkSIQRf$C?)8%dlROxj!zxy)L<3="
    b"bb6@{<0*7xX+&h@(3oJ!Tbo_0fU5L$U{0Jkf6>W(-s(s?&q=2AkhEwY3Ip}6kN^65?!gpde=Qp$a"
    b"11^i^cC~AUQVHGIUWp(2UQR<ybKRx&V(u6xL7OlThG=ypo2)5CskoIU8ZOih}`|=iNmZhA@QFF}X"
    b"X*`Tc#Nx^U(7=8~NhC>?d^Qm$1D>4V>?E7`eeJ9srgFF;bzO0F<jJcXQ6~m|QyUMpoI+cScowHoM"
    b"6xu>`ihH}L7MJzUT}ni2Wa5!26V$a%);(@MUU${MnO2FmV+F<vx#1CIEJtt|8V&7OdK$_?60$=sL"
    b"KJtLWI+p9X+(lCd`X!&t8V|@RKgrzp27;GrrG}+W4Hii%zY_ynvu2RN8uUvm-0p>YUWGJGfH"
)
